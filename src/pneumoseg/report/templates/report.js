// The viewer: a case enlarged, with window, level and layers. The page is complete without this script.
"use strict";
(() => {
  const viewer = document.getElementById("viewer");
  const links = [...document.querySelectorAll("a.panels")];
  const part = (name) => viewer.querySelector(`[data-part="${name}"]`);
  const inTable = (name) => document.querySelector(`#every-case [data-part="${name}"]`);
  const layers = ["truth", "prediction", "agreement", "activation"];
  let current = null;

  const applyWindow = () => {
    // out = (in - (level - width / 2)) / width, the linear VOI function of DICOM PS3.3 C.11.2.1.2 on the shown grey levels.
    const width = Number(part("window").value);
    const level = Number(part("level").value);
    for (const channel of document.querySelectorAll("#grey-window [type=linear]")) {
      channel.setAttribute("slope", String(255 / width));
      channel.setAttribute("intercept", String(-(level - width / 2) / width));
    }
    part("window-value").textContent = String(width);
    part("level-value").textContent = String(level);
  };

  const applyLayers = () => {
    const opacity = Number(part("opacity").value);
    part("opacity-value").textContent = `${opacity} %`;
    for (const name of layers) {
      const layer = part(`${name}-layer`);
      layer.hidden = !layer.getAttribute("src") || !part(`${name}-shown`).checked;
      layer.style.opacity = String(opacity / 100);
    }
  };

  // From the case's own pictures: where the page is one file, a picture is embedded once, as a background.
  const copy = (target, article, name) => {
    const pictures = [...article.querySelectorAll("img")];
    const found = pictures.find((picture) => picture.dataset.file === article.dataset[name]);
    if (found) {
      target.src = found.src;
      target.style.background = getComputedStyle(found).background;
    } else target.removeAttribute("src");
    return Boolean(found);
  };

  const reset = () => {
    part("window").value = "255";
    part("level").value = "128";
    part("opacity").value = "60";
    applyWindow();
    applyLayers();
  };

  const show = (link) => {
    current = link;
    const article = link.closest(".case");
    const siblings = [...article.parentElement.querySelectorAll("a.panels")];
    const place = siblings.indexOf(link) + 1;
    part("title").textContent = `${article.dataset.gallery} · ${place} of ${siblings.length}`;
    copy(part("radiograph"), article, "radiograph");
    part("radiograph").alt = `Radiograph ${article.dataset.case}`;
    for (const name of layers) {
      part(`${name}-shown`).disabled = !copy(part(`${name}-layer`), article, name);
    }
    if (!article.dataset.agreement) part("prediction-shown").checked = true;
    if (article.dataset.activation) part("activation-shown").checked = true;
    part("facts").replaceChildren(article.querySelector(".facts").cloneNode(true));
    applyLayers();
    if (!viewer.open) {
      viewer.showModal();
      part("close").focus();
    }
  };

  const step = (by) => {
    const siblings = [...current.closest(".gallery").querySelectorAll("a.panels")];
    const next = siblings[(siblings.indexOf(current) + by + siblings.length) % siblings.length];
    history.replaceState(null, "", next.getAttribute("href"));
    show(next);
  };

  const follow = () => {
    const hash = location.hash;
    const asked = links.find((link) => link.getAttribute("href") === hash);
    if (asked) {
      show(current && current.getAttribute("href") === hash ? current : asked);
    } else if (viewer.open) {
      viewer.close();
    }
  };

  for (const link of links) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      if (location.hash !== link.getAttribute("href")) history.pushState(null, "", link.getAttribute("href"));
      show(link);
    });
  }
  viewer.addEventListener("close", () => {
    history.replaceState(null, "", "#cases");
    if (current) current.focus();
  });
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close();
  });
  viewer.addEventListener("keydown", (event) => {
    const onSlider = event.target.type === "range";
    if (event.key === "ArrowRight" && !onSlider) step(1);
    else if (event.key === "ArrowLeft" && !onSlider) step(-1);
    else if (event.key === "o") {
      const opacity = part("opacity");
      opacity.value = opacity.value === "0" ? "60" : "0";
      applyLayers();
    } else return;
    event.preventDefault();
  });
  for (const name of ["window", "level"]) part(name).addEventListener("input", applyWindow);
  part("opacity").addEventListener("input", applyLayers);
  for (const name of layers) part(`${name}-shown`).addEventListener("change", applyLayers);
  part("reset").addEventListener("click", reset);
  part("previous").addEventListener("click", () => step(-1));
  part("next").addEventListener("click", () => step(1));
  part("close").addEventListener("click", () => viewer.close());
  window.addEventListener("hashchange", follow);
  window.addEventListener("popstate", follow);
  // The table of all images: a click on a head sorts, again turns round; rows without a value stay last.
  const table = inTable("every");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const key = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      rows.sort((one, other) => {
        const [a, b] = [key(one, column), key(other, column)];
        if (!a || !b) return Number(!a) - Number(!b);
        const order = head.classList.contains("number") ? Number(a) - Number(b) : a.localeCompare(b);
        return rising ? order : -order;
      });
      body.append(...rows);
    });
  });
  const filter = inTable("filter");
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const told = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !words.every((word) => told.includes(word));
    }
    inTable("filtered").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  });
  filter.closest("p").hidden = false;

  reset();
  follow();
})();
