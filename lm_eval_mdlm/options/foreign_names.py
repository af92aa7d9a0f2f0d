"""Names that the harness and other tools give to options of this package, and what to write here instead.

A name that means something else here than its spelling suggests would otherwise be answered by a guess from spelling:
`threshold` by `exit_threshold`, which runs, and measures something else.
"""

from collections.abc import Mapping


LENGTH_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""The harness's names for the length of a free region, first one wins there and here."""

_THRESHOLD = "sampler=confidence_threshold,confidence_threshold=..."
_STEPS = "steps=... (of sampler=fixed_k), or k=..., the tokens per step"
_BLOCK = "block_length=..."
_LENGTH = "gen_length=..."
_GUIDANCE = "cfg_scale=w, where w = 0 is no guidance"
_PRETRAINED = "pretrained=..."
_ADAPTER = "peft=..., beside the pretrained=... that it was trained on"
_CACHE = "cache=prefix or cache=dual (--use_cache is lm_eval's cache of finished texts)"
_SETTLED = "stop_when_settled=True"
_END_IDS = "suppress_tokens with the end-of-text token's id or name"
_UNTIL = "until, in --gen_kwargs as JSON"
_EVERYTHING = "accelerate launch or torchrun with one process per GPU, or device_map=auto for one model over several"
_REMASK = "sampler=edit,edit_threshold=... to replace tokens by a threshold; sampler=remdm takes some back"
_NOT_YET = "nothing: it is not available yet"

INSTEAD: Mapping[str, str] = {
    # which positions are committed
    "threshold": f"{_THRESHOLD}; for MED's, sampler=med,entropy_threshold=...",
    "dynamic_threshold": _THRESHOLD,
    "conf_threshold": _THRESHOLD,
    "unmask_threshold": _THRESHOLD,
    "low_threshold": _NOT_YET,
    "tau": _THRESHOLD,
    "eb_threshold": "sampler=entropy_bound,entropy_bound=...",
    "eb_gamma": "sampler=entropy_bound,entropy_bound=...",
    "gamma": "exit_threshold=... for the paper's early exit; sampler=entropy_bound,entropy_bound=... for that bound",
    "lambda": "sampler=med,entropy_threshold=...",
    "lam": "sampler=med,entropy_threshold=...",
    "remasking": "score=confidence for low_confidence, score=random for random (sampler=fixed_k)",
    "remasking_strategy": "score=confidence for low_confidence, score=random for random (sampler=fixed_k)",
    "algorithm": "sampler=..., and score=... for the order of sampler=fixed_k, or alg=... for that of sampler=dream",
    "kl_history_length": "sampler=klass,history=...",
    "credit_alpha": "sampler=credit,credit_strength=...",
    "boost_gamma": "sampler=credit,credit_exponent=...",
    "decay_beta": "sampler=credit,credit_decay=...",
    "decoding": "sampler=...",
    "decoding_strategy": "sampler=...",
    "strategy": "sampler=...",
    "scheduler": "sampler=...",
    "unmasking": "sampler=...",
    "num_transfer_tokens": "k=... (of sampler=fixed_k)",
    "tokens_per_step": "k=... (of sampler=fixed_k)",
    "parallel_tokens": "k=... (of sampler=fixed_k)",
    "diffusion_steps": _STEPS,
    "num_inference_steps": _STEPS,
    "denoising_steps": _STEPS,
    "sampling_steps": _STEPS,
    "num_steps": _STEPS,
    "diffusion_step": _STEPS,
    "editing_threshold": "sampler=edit,edit_threshold=...",
    "remask_threshold": _REMASK,
    "max_post_steps": "sampler=edit,max_edit_passes=...",
    # the region
    "block_size": _BLOCK,
    "blocklen": _BLOCK,
    "block_len": _BLOCK,
    "bd_size": _BLOCK,
    "small_block_size": _BLOCK,
    "num_blocks": _BLOCK,
    "length": _LENGTH,
    "gen_len": _LENGTH,
    "generation_length": _LENGTH,
    "max_length_generation": _LENGTH,
    "max_gen_length": _LENGTH,
    "answer_length": 'template=[{"reasoning": ...}, {"text": ...}, {"answer": ...}]',
    "max_model_len": "max_length=...",
    "max_seq_len": "max_length=...",
    "max_seq_length": "max_length=...",
    "max_prompt_length": "max_length=..., for prompt and region together",
    "constraints_text": 'template=[{"reasoning": ...}, {"text": ...}, {"answer": ...}]',
    # tokens
    "cfg": _GUIDANCE,
    "unsupervised_cfg_scale": _GUIDANCE,
    "guidance_scale": "cfg_scale=s - 1 for a guidance_scale of s",
    "guidance": _GUIDANCE,
    "temp": "temperature=...",
    "logits_eos_inf": _END_IDS,
    "eos_inf": _END_IDS,
    "confidence_eos_eot_inf": "defer_end_of_text=True",
    "begin_suppress_tokens": "suppress_tokens=..., which holds for the whole region",
    "mask_id": "mask_token_id=...",
    "mask_token": "mask_token_id=..., the token's id",
    "mask_index": "mask_token_id=..., the token's id",
    "random_seed": "seed=..., or the harness's --seed",
    # ends
    "stop": _UNTIL,
    "stop_strings": _UNTIL,
    "stop_sequences": _UNTIL,
    "stop_words": _UNTIL,
    "escape_until": _UNTIL,
    "early_stop": _SETTLED,
    "early_stopping": _SETTLED,
    "eos_early_stop": _SETTLED,
    "early_exit": "exit_threshold=..., in nats",
    "exit_confidence": _NOT_YET,
    # how it runs
    "model": _PRETRAINED,
    "model_path": _PRETRAINED,
    "model_name": _PRETRAINED,
    "model_name_or_path": _PRETRAINED,
    "model_id": _PRETRAINED,
    "path": _PRETRAINED,
    "checkpoint": _PRETRAINED,
    "torch_dtype": "dtype=...",
    "precision": "dtype=...",
    "use_cache": _CACHE,
    "dual_cache": _CACHE,
    "prefix_cache": _CACHE,
    "use_kv_cache": _CACHE,
    "kv_cache": _CACHE,
    "batch": "batch_size=...",
    "tensor_parallel_size": _EVERYTHING,
    "data_parallel_size": _EVERYTHING,
    "parallelize": _EVERYTHING,
    "gpu_memory_utilization": "batch_size=auto, which sizes passes by free memory",
    "show_speed": "nothing: NFE and tokens stand in every result",
    "save_dir": "--use_cache FILE, with which an interrupted run goes on",
    "lora_path": _ADAPTER,
    "lora": _ADAPTER,
    "adapter": _ADAPTER,
    "adapter_path": _ADAPTER,
    "peft_path": _ADAPTER,
    # likelihoods
    "mc_batch_size": "mc_batch=... (of likelihood=llada or dream)",
    "nll_type": "likelihood=llada or dream for mc, likelihood=l2r for ar_ftb, likelihood=r2l for ar_btf",
    "is_check_greedy": "nothing: greedy decoding is run where a task's metrics look at it",
}
"""Of LLaDA, Dream, Fast-dLLM, dllm, dInfer, SDAR, Prophet, d3LLM, SGLang, vLLM, transformers and diffusers."""

VALUES: Mapping[tuple[str, str], str] = {
    ("score", "low_confidence"): "confidence",
    ("score", "maskgit_plus"): "confidence, or alg=maskgit_plus of sampler=dream,",
    ("score", "topk_margin"): "margin, or alg=topk_margin of sampler=dream,",
    ("score", "origin"): "random, or alg=origin of sampler=dream,",
    ("alg", "confidence"): "maskgit_plus",
    ("alg", "margin"): "topk_margin",
    ("alg", "random"): "origin",
    ("alg", "confidence_threshold"): "sampler=confidence_threshold, without alg,",
    ("sampler", "credit_decoding"): "credit",
    ("sampler", "localleap"): "local_leap",
    ("sampler", "origin"): "dream with alg=origin",
    ("score", "neg_entropy"): "entropy",
    ("score", "l2r"): "left_to_right",
    ("score", "pc_sampler"): "pc",
    ("sampler", "pc_sampler"): "fixed_k with score=pc",
    ("sampler", "slowfast"): "slow_fast",
    ("sampler", "adablock"): "ada_block",
    ("sampler", "dsb"): "sliding_block",
    ("sampler", "inc_dilated"): "dus",
    ("sampler", "threshold"): "confidence_threshold",
    ("sampler", "factor"): "confidence_factor",
    ("sampler", "eb"): "entropy_bound",
    ("sampler", "eb_sampler"): "entropy_bound",
    ("sampler", "entropy_threshold"): "med",
    ("sampler", "low_confidence"): "fixed_k with score=confidence",
    ("sampler", "random"): "fixed_k with score=random",
    ("sampler", "entropy"): "fixed_k with score=entropy, or med",
    ("sampler", "confidence"): "fixed_k with score=confidence, or confidence_threshold",
    ("cache", "True"): "prefix or dual",
    ("cache", "block"): "prefix or dual",
}
"""What others call a value of an option."""


def instead_of(name: str) -> str | None:
    """A sentence that says what to write instead of a foreign name; None for a name that is not known."""
    advice = INSTEAD.get(name) or INSTEAD.get(name.lower().replace("-", "_"))
    return f" Other tools call it so; here write {advice}." if advice else None
