// The reading page: files go to this machine's own server, their answers are drawn here. No text of a file is ever HTML.
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const canvas = at("canvas");
  const context = canvas.getContext("2d");
  const FOUND = [86, 180, 233], FALSE = [222, 94, 20], MISSED = [240, 228, 66];
  const entries = [];
  let current = null;
  let pan = { x: 0, y: 0, zoom: 1 };

  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const ask = async (path, options) => {
    const response = await fetch(path, options);
    if (!response.ok) {
      let told = response.statusText;
      try { told = (await response.json()).error || told; } catch { /* no JSON: the status says it */ }
      throw new Error(told);
    }
    return response;
  };
  const grey = async (path) => {
    // A PNG as one byte a pixel.
    const bitmap = await createImageBitmap(await (await ask(path)).blob(), { colorSpaceConversion: "none" });
    const sheet = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
    sheet.drawImage(bitmap, 0, 0);
    const rgba = sheet.getImageData(0, 0, bitmap.width, bitmap.height).data;
    const values = new Uint8Array(bitmap.width * bitmap.height);
    for (let i = 0; i < values.length; i += 1) values[i] = rgba[4 * i];
    return { values, width: bitmap.width, height: bitmap.height };
  };

  // What is drawn: grey levels through the window, then mask and truth over them.
  const tuned = () => (current.answer.mask_threshold === null ? null : Math.floor(255 * current.answer.mask_threshold));
  const moved = () => current.map && Number(at("threshold").value) !== tuned();
  const marked = () => {
    if (!current.map) return null;
    if (!moved()) return current.mask;
    const level = Number(at("threshold").value);
    const mask = new Uint8Array(current.map.length);
    for (let i = 0; i < mask.length; i += 1) mask[i] = current.map[i] > level ? 255 : 0;
    return mask;
  };
  const windowed = () => {
    // The linear VOI function of DICOM PS3.3 C.11.2.1.2 on the shown grey levels.
    const width = Number(at("window").value), level = Number(at("level").value), inverted = at("invert").checked;
    const table = new Uint8ClampedArray(256);
    for (let value = 0; value < 256; value += 1) {
      const out = ((value - (level - width / 2)) / width) * 255;
      table[value] = inverted ? 255 - Math.max(0, Math.min(255, out)) : out;
    }
    return table;
  };
  const isRim = (mask, i, width, height) => {
    const x = i % width, y = (i - x) / width, reach = Math.max(1, Math.round(Math.max(width, height) / 400));
    return x < reach || y < reach || x >= width - reach || y >= height - reach ||
      !mask[i - reach] || !mask[i + reach] || !mask[i - reach * width] || !mask[i + reach * width];
  };
  const shades = (table, colour, share) => {
    // Of each grey level the pixel that is shown, one 32-bit word: a picture of 1024 x 1024 in a few milliseconds.
    const bytes = new Uint8ClampedArray(4 * 256);
    for (let value = 0; value < 256; value += 1) {
      for (let k = 0; k < 3; k += 1) bytes[4 * value + k] = colour ? table[value] * (1 - share) + colour[k] * share : table[value];
      bytes[4 * value + 3] = 255;
    }
    return new Uint32Array(bytes.buffer);
  };
  const draw = () => {
    if (!current) return;
    const { pixels, width, height, truth } = current;
    const image = context.createImageData(width, height), words = new Uint32Array(image.data.buffer);
    const table = windowed(), mask = marked();
    const opacity = Number(at("opacity").value) / 100, outline = at("contour").checked;
    const plain = shades(table), [found, wrong, missed] = [FOUND, FALSE, MISSED].map((colour) => shades(table, colour, opacity));
    let area = 0, both = 0, trueArea = 0;
    for (let i = 0; i < pixels.length; i += 1) {
      const on = mask !== null && mask[i] > 0, real = truth !== null && truth[i] > 0;
      let shown = plain;
      if (on) { area += 1; shown = real ? found : wrong; } else if (real) shown = missed;
      if (real) { trueArea += 1; if (on) both += 1; }
      if (outline && shown !== plain && !isRim(on ? mask : truth, i, width, height)) shown = plain;
      words[i] = shown[pixels[i]];
    }
    context.putImageData(image, 0, 0);
    if (opacity) boxes();
    tell(area, both, trueArea);
  };
  // A finding whose score lies under the mask threshold marks no pixel.
  const level = () => (moved() ? Number(at("threshold").value) : tuned()) / 255;
  const counted = () => current.answer.findings.filter((one) => one.score > level());
  const boxes = () => {
    if (!current.answer.findings) return;
    const unit = Math.max(canvas.width, canvas.height) / 400;
    context.strokeStyle = context.fillStyle = "white";
    context.lineWidth = Math.max(1, unit);
    context.font = `${12 * unit}px sans-serif`;
    for (const { box: [left, top, right, bottom], score } of counted()) {
      context.strokeRect(left, top, right - left, bottom - top);
      context.fillText(score.toFixed(2), left + 2 * unit, top > 14 * unit ? top - 3 * unit : bottom + 12 * unit);
    }
  };
  let asked = false;
  const redraw = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  };

  const number = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));
  const tell = (area, both, trueArea) => {
    const { answer, truth } = current;
    const changed = moved();
    at("call").textContent = changed ? "Threshold moved by hand" : answer.call;
    at("because").textContent = changed ? "" : answer.because;
    at("moved").hidden = !changed;
    const threshold = changed ? (Number(at("threshold").value) / 255).toFixed(3) : answer.mask_threshold;
    at("threshold-value").textContent = current.map ? `> ${threshold}` : "no map";
    for (const name of ["window", "level"]) at(`${name}-value`).textContent = at(name).value;
    at("opacity-value").textContent = `${at("opacity").value} %`;
    const mm2 = answer.pixel_mm2 === null ? "no spacing in the file" : `${(area * answer.pixel_mm2).toFixed(0)} mm² (${answer.spacing_source.replaceAll("_", " ")})`;
    const rows = [
      ["Probability", `${number(answer.probability, 3)} (${answer.probability_origin.replaceAll("_", " ")})`],
      ["Rule", answer.rule],
      ["Area", answer.area_px === null ? "no mask" : `${area} px, ${mm2}`],
      ["Side", changed ? "–" : `${answer.side_in_image ?? "–"} in the image; of the patient: ${answer.side_of_patient ?? "not stated in the file"}`],
      ["At this rule", changed ? "unknown" : `sensitivity ${answer.operating_point.sensitivity}, specificity ${answer.operating_point.specificity}`],
      ["Flags", answer.flags.length ? answer.flags.map((flag) => flag.replaceAll("_", " ")).join(", ") : "none"],
    ];
    if (answer.findings) {
      const told = counted().map((one) => `${number(one.score, 2)} (${one.area_px} px)`);
      const rest = answer.findings.length - told.length;
      rows.splice(3, 0, ["Findings", (told.join(", ") || "none") + (rest ? `; ${rest} of too low a score` : "")]);
    }
    if (truth) rows.push(["Dice", area + trueArea ? ((2 * both) / (area + trueArea)).toFixed(4) : "1.0000"]);
    at("facts").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
    at("legend").hidden = !truth;
  };

  const place = () => {
    const stage = at("stage").getBoundingClientRect();
    const fit = Math.min(stage.width / canvas.width, stage.height / canvas.height) * pan.zoom;
    canvas.style.transform = `translate(${pan.x}px, ${pan.y}px) scale(${fit}) translate(-50%, -50%)`;
  };
  const reset = () => {
    at("window").value = "255"; at("level").value = "128"; at("opacity").value = "50";
    at("invert").checked = false; at("contour").checked = false;
    if (current && current.map) at("threshold").value = String(tuned());
    pan = { x: 0, y: 0, zoom: 1 };
    place();
    redraw();
  };

  const show = async (entry) => {
    current = entry;
    for (const other of entries) if (other.button) other.button.setAttribute("aria-current", String(other === entry));
    at("view").hidden = false;
    const base = `/api/readings/${entry.answer.number}`;
    try {
      if (!entry.pixels) {
        const has = (name) => entry.answer.results.includes(name);
        const [radiograph, map, mask] = await Promise.all([
          grey(`${base}/radiograph.png`), has("map") ? grey(`${base}/map`) : null, has("mask") ? grey(`${base}/mask`) : null,
        ]);
        Object.assign(entry, { pixels: radiograph.values, width: radiograph.width, height: radiograph.height, map: map && map.values, mask: mask && mask.values });
      }
    } catch (error) {
      at("truth-told").textContent = error.message;
      return;
    }
    if (current !== entry) return;
    canvas.width = entry.width; canvas.height = entry.height;
    at("threshold").disabled = !entry.map;
    const right = entry.answer.right_of_image;
    at("right").textContent = right ? right[0].toUpperCase() : "?";
    at("left").textContent = right ? (right === "left" ? "R" : "L") : "?";
    at("truth").value = ""; at("truth-told").textContent = "";
    at("results").replaceChildren(...entry.answer.results.map((name) => {
      const link = element("a", name);
      link.href = `${base}/${name}`;
      link.addEventListener("click", async (event) => {
        event.preventDefault();
        try {
          const response = await ask(link.href);
          const saved = element("a");
          saved.download = /filename="(.+)"/.exec(response.headers.get("content-disposition"))[1];
          saved.href = URL.createObjectURL(await response.blob());
          saved.click();
          URL.revokeObjectURL(saved.href);
        } catch (error) {
          at("truth-told").textContent = error.message;
        }
      });
      return link;
    }));
    reset();
  };

  const refused = (name, reason) => {
    const item = element("li", undefined, "refused");
    item.append(element("strong", name), element("small", reason));
    at("list").append(item);
  };
  const add = async (file) => {
    let answer;
    try {
      answer = await (await ask("/api/readings", { method: "POST", body: file, headers: { "X-File-Name": encodeURIComponent(file.name), "Content-Type": "application/octet-stream" } })).json();
    } catch (error) {
      refused(file.name, error.message);
      return;
    }
    if (!answer.accepted) { refused(file.name, answer.reason); return; }
    const entry = { answer, pixels: null, map: null, mask: null, truth: null };
    entry.button = element("button", file.name);
    entry.button.type = "button";
    entry.button.append(element("small", `${answer.positive ? "above" : "below"} the threshold, probability ${number(answer.probability, 3)}`));
    entry.button.addEventListener("click", () => show(entry));
    const item = element("li");
    item.append(entry.button);
    at("list").append(item);
    entries.push(entry);
    if (!current) await show(entry);
  };
  const addAll = async (files) => {
    const all = [...files];
    for (const [place_, file] of all.entries()) {
      at("progress").textContent = `reading ${place_ + 1} of ${all.length}`;
      await add(file);
    }
    const no = at("list").querySelectorAll(".refused").length;
    at("progress").textContent = `${entries.length} answered${no ? `, ${no} refused` : ""}`;
  };

  const drop = at("drop");
  for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
  document.addEventListener("dragover", () => drop.classList.add("over"));
  for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => addAll(event.dataTransfer.files));
  at("choose").addEventListener("change", (event) => addAll(event.target.files));
  drop.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") at("choose").click(); });
  at("truth").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (!file || !current) return;
    const entry = current;
    try {
      const told = await (await ask(`/api/readings/${entry.answer.number}/truth`, { method: "POST", body: file })).json();
      entry.truth = (await grey(`/api/readings/${entry.answer.number}/truth`)).values;
      at("truth-told").textContent = `true area ${told.area_px} px${told.dice === null ? "" : `, Dice at the tuned rule ${told.dice.toFixed(4)}`}`;
      redraw();
    } catch (error) {
      at("truth-told").textContent = error.message;
    }
  });
  for (const name of ["threshold", "window", "level", "opacity", "invert", "contour"]) at(name).addEventListener("input", redraw);
  at("reset").addEventListener("click", reset);
  const zoom = (by) => { pan.zoom = Math.max(1, Math.min(12, pan.zoom * by)); if (pan.zoom === 1) { pan.x = 0; pan.y = 0; } place(); };
  at("zoom-in").addEventListener("click", () => zoom(1.4));
  at("zoom-out").addEventListener("click", () => zoom(1 / 1.4));
  at("stage").addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15); }, { passive: false });
  let held = null;
  at("stage").addEventListener("pointerdown", (event) => { held = { x: event.clientX, y: event.clientY }; at("stage").setPointerCapture(event.pointerId); });
  at("stage").addEventListener("pointerup", () => { held = null; });
  at("stage").addEventListener("pointermove", (event) => {
    if (!held) return;
    const dx = event.clientX - held.x, dy = event.clientY - held.y;
    held = { x: event.clientX, y: event.clientY };
    if (event.shiftKey) {
      at("window").value = String(Number(at("window").value) + dx);
      at("level").value = String(Number(at("level").value) - dy);
      redraw();
    } else { pan.x += dx; pan.y += dy; place(); }
  });
  window.addEventListener("resize", place);
  document.addEventListener("keydown", (event) => {
    if (!current || event.target.type === "range" || event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) { const next = entries[(entries.indexOf(current) + by + entries.length) % entries.length]; next.button.focus(); show(next); }
    else if (event.key === "o") { at("opacity").value = at("opacity").value === "0" ? "50" : "0"; redraw(); }
    else if (event.key === "i") { at("invert").checked = !at("invert").checked; redraw(); }
    else if (event.key === "+") zoom(1.4);
    else if (event.key === "-") zoom(1 / 1.4);
    else if (event.key === "0") reset();
    else return;
    event.preventDefault();
  });

  ask("/api/model").then((response) => response.json()).then((model) => {
    at("warnings").textContent = model.warnings.join(" · ");
    const tested = model.tested ? ` Measured on ${model.tested.images} test images (${model.tested.positives} with pneumothorax): sensitivity ${model.tested.sensitivity}, specificity ${model.tested.specificity}, AUC ${model.tested.auc}.` : " Not measured.";
    at("model").textContent = `Model ${model.id}: ${model.intended_use}. Rule: ${model.rule}.${tested}`;
  });
})();
