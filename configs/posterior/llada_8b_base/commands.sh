# The posterior experiment on LLaDA-8B-Base and GSM8K, from the root of this repository; after a kill the same lines go on.

# 1. Greedy solutions of the test and the training problems: the base's accuracy, and which problems it fails.
lm_eval run --config configs/posterior/llada_8b_base/gsm8k_base.yaml
lm_eval run --config configs/posterior/llada_8b_base/gsm8k_train.yaml

# 2. One trace of every training problem, given its answer and not.
lm-eval-mdlm posterior --model_args pretrained=GSAI-ML/LLaDA-8B-Base,revision=main,dtype=bfloat16,block_length=32 \
  --tasks gsm8k_mdlm_train --gen_kwargs temperature=1,seed=0 --skip_long \
  --journal results/posterior/llada_8b_base/journals/posterior --output results/posterior/llada_8b_base/posterior.jsonl
lm_eval run --config configs/posterior/llada_8b_base/gsm8k_traces.yaml

# 3. Do the answers' scores tell right traces of failed problems from wrong ones? For a judge in place of arithmetic see README.md.
lm-eval-mdlm posterior --model_args pretrained=GSAI-ML/LLaDA-8B-Base,revision=main,dtype=bfloat16,block_length=32 \
  --tasks gsm8k_mdlm_train --gen_kwargs temperature=1,seed=0 --skip_long \
  --only_failed results/posterior/llada_8b_base/gsm8k_train/*/samples_gsm8k_mdlm_train_*.jsonl \
  --journal results/posterior/llada_8b_base/journals/posterior --output results/posterior/llada_8b_base/failed.jsonl
lm-eval-mdlm score --model_args pretrained=GSAI-ML/LLaDA-8B-Base,revision=main,dtype=bfloat16 --labels arithmetic \
  --traces results/posterior/llada_8b_base/failed.jsonl --output results/posterior/llada_8b_base/failed_scored.jsonl

# 4. What each arm is trained on.
python configs/posterior/llada_8b_base/lines.py --posterior results/posterior/llada_8b_base/posterior.jsonl \
  --own results/posterior/llada_8b_base/gsm8k_traces/*/samples_gsm8k_mdlm_train_*.jsonl \
  --out results/posterior/llada_8b_base/lines
lm-eval-mdlm select --traces results/posterior/llada_8b_base/posterior.jsonl --correct arithmetic \
  --output results/posterior/llada_8b_base/lines/filtered.jsonl

# 5. Fine-tuning and evaluation; several GPUs by `torchrun --nproc-per-node N -m lm_eval_mdlm finetune`.
for arm in gold posterior filtered both rejection own answers; do
  lm-eval-mdlm finetune --pretrained GSAI-ML/LLaDA-8B-Base --revision main --skip-unfit \
    --data results/posterior/llada_8b_base/lines/$arm.jsonl --out results/posterior/llada_8b_base/tuned/$arm \
    --free-share 0 --block-share 0.3 --block-length 32 --lora-rank 16 --adapter-only --learning-rate 1e-4 --steps 700 \
    --batch-size 32 --device-batch-size 8 --gradient-checkpointing --seed 0
  lm_eval run --config configs/posterior/llada_8b_base/gsm8k_$arm.yaml
done
