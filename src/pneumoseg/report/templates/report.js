// The viewer: a case enlarged, with window, level and layers. The page is complete without this script.
"use strict";
(() => {
  const viewer = document.getElementById("viewer");
  const links = [...document.querySelectorAll("a.panels")];
  const part = (name) => viewer.querySelector(`[data-part="${name}"]`);
  const layers = ["truth", "prediction", "agreement"];
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
    part("radiograph").src = article.dataset.radiograph;
    part("radiograph").alt = `Radiograph ${article.dataset.case}`;
    for (const name of layers) {
      const source = article.dataset[name];
      const layer = part(`${name}-layer`);
      if (source) layer.src = source; else layer.removeAttribute("src");
      part(`${name}-shown`).disabled = !source;
    }
    if (!article.dataset.agreement) part("prediction-shown").checked = true;
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
  reset();
  follow();
})();
