// One recorded row: [length, fixed tokens, steps, stop]; a step is [positions, pieces, entropies, new masks, answer entropy].
const END = -2;  // a token that ends the text

// The region after so many passes: for every position [piece or null, pass that wrote it, entropy, written before].
const regionAfter = ([length, fixed, steps], passes) => {
  const region = Array.from({ length }, () => [null, 0, null, false]);
  for (const [position, piece] of fixed) region[position] = [piece, 0, null, false];
  const written = new Set(fixed.map(([position]) => position));
  steps.slice(0, passes).forEach(([positions, pieces, entropies, remasked], step) => {
    positions.forEach((position, i) => {
      region[position] = [pieces[i], step + 1, entropies[i], written.has(position)];
      written.add(position);
    });
    for (const position of remasked) region[position] = [null, step + 1, null, true];
  });
  return region;
};

const toldOf = ([, , steps, stop], pass) => {
  if (!pass) return `before the first of ${steps.length} passes`;
  const [positions, , entropies, remasked, bound] = steps[pass - 1];
  const sum = entropies.reduce((total, one) => total + one, 0);
  const parts = [`pass ${pass} of ${steps.length}: ${positions.length} written, entropies sum to ${sum.toFixed(2)} nats`];
  if (remasked.length) parts.push(`${remasked.length} taken back`);
  if (bound !== null) parts.push(`answer entropy ${bound.toFixed(2)} nats`);
  if (pass === steps.length && stop !== "complete") parts.push({ exit: "the exit ends the row here", cap: "max_nfe ends the row here", settled: "the text is settled" }[stop] ?? stop);
  return parts.join("; ");
};

const replay = (row) => {
  const last = row[2].length;
  const told = make("p", { className: "remark" });
  const shown = make("pre", { className: "region" });
  const slider = make("input", { type: "range", min: 0, max: last, value: last, step: 1, ariaLabel: "pass" });
  const play = make("button", { type: "button", textContent: "Play" });
  let timer = null;

  const piece = ([number, pass, entropy, again]) => {
    const now = pass && pass === Number(slider.value);
    const word = number === null ? "▁" : number === END ? "∎" : data.pieces[number].replaceAll("\n", "⏎\n");
    const kind = [number === null ? "mask" : pass ? "written" : "fixed", now ? "now" : "", again ? "again" : ""];
    const span = make("span", { textContent: word, className: kind.filter(Boolean).join(" ") });
    if (pass && number !== null) {
      span.style.setProperty("--pass", `${Math.round(5 + (35 * pass) / last)}%`);
      span.title = `pass ${pass}, entropy ${entropy} nats${again ? ", not the first token here" : ""}`;
    }
    return span;
  };
  const draw = () => {
    const pass = Number(slider.value);
    told.textContent = toldOf(row, pass);
    slider.setAttribute("aria-valuetext", told.textContent);
    shown.replaceChildren(...regionAfter(row, pass).map(piece));
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };
  const step = () => {
    if (!shown.isConnected || Number(slider.value) >= last) return stop();
    slider.value = Number(slider.value) + 1;
    draw();
  };
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(slider.value) >= last) slider.value = 0;
    draw();
    play.textContent = "Pause";
    timer = setInterval(step, 300);
  });
  slider.addEventListener("input", () => { stop(); draw(); });
  draw();
  return make("div", { className: "replay" }, make("div", { className: "controls" }, play, slider), told, shown);
};
