// Inside a flame graph (flamegraph.py): a click on a frame makes it as wide as the whole, hovering tells a frame in full,
// `search` (or Ctrl-F, or /) colours all frames whose name fits a regular expression and adds up their share.
"use strict";
(() => {
  const svg = document.documentElement;
  const whole = svg.viewBox.baseVal.width;
  const CHARACTER = 6.62;
  const frames = Array.from(document.querySelectorAll(".frame"), (element) => ({
    element,
    box: element.querySelector("rect"),
    text: element.querySelector("text"),
    told: element.querySelector("title").textContent,
    name: element.dataset.name,
    left: Number(element.dataset.left),
    width: Number(element.dataset.width),
    depth: Number(element.dataset.depth),
  }));
  const byElement = new Map(frames.map((frame) => [frame.element, frame]));
  const told = document.getElementById("told");
  const share = document.getElementById("share");
  const TINY = 1e-7; // what the file's numbers were rounded by

  // Draws what lies between the edges of one frame; its callers stay above it, as wide as it is.
  function zoom(to) {
    for (const frame of frames) {
      const holds = frame.left <= to.left + TINY && frame.left + frame.width >= to.left + to.width - TINY;
      const isAbove = frame.depth < to.depth && holds;
      const left = isAbove ? 0 : (frame.left - to.left) / to.width;
      const width = isAbove ? 1 : frame.width / to.width;
      const isInside = left >= -TINY / to.width && left + width <= 1 + TINY / to.width && (isAbove || frame.depth >= to.depth);
      frame.element.style.display = isInside ? "" : "none";
      frame.element.classList.toggle("above", isAbove);
      if (!isInside) continue;
      frame.box.setAttribute("x", left * whole);
      frame.box.setAttribute("width", Math.max(width * whole - 0.4, 0.2));
      frame.text.setAttribute("x", left * whole + 3);
      const fits = Math.floor((width * whole - 4) / CHARACTER);
      frame.text.textContent = frame.name.length <= fits ? frame.name : fits >= 4 ? frame.name.slice(0, fits - 2) + ".." : "";
    }
  }

  // Of frames that lie one upon another only the uppermost counts: a share is never counted twice.
  function search() {
    const asked = prompt("Frames whose name fits this regular expression (nothing: none)", "");
    if (asked === null) return;
    let pattern;
    try {
      pattern = new RegExp(asked);
    } catch (error) {
      alert(error.message);
      return;
    }
    const counted = [];
    for (const frame of [...frames].sort((a, b) => a.depth - b.depth)) {
      const fits = asked !== "" && pattern.test(frame.name);
      frame.element.classList.toggle("found", fits);
      const holds = (each) => each.left <= frame.left + TINY && each.left + each.width >= frame.left + frame.width - TINY;
      if (fits && !counted.some(holds)) counted.push(frame);
    }
    const sum = counted.reduce((total, frame) => total + frame.width, 0);
    share.textContent = asked === "" ? "" : `found: ${(100 * sum).toFixed(2)} %`;
  }

  const frameAt = (event) => byElement.get(event.target.closest(".frame"));
  svg.addEventListener("mouseover", (event) => {
    told.textContent = frameAt(event)?.told ?? "";
  });
  svg.addEventListener("click", (event) => {
    if (event.target.id === "search") search();
    else if (event.target.id === "whole") zoom(frames[0]);
    else if (frameAt(event)) zoom(frameAt(event));
  });
  window.addEventListener("keydown", (event) => {
    if (event.key === "/" || (event.key === "f" && event.ctrlKey)) {
      event.preventDefault();
      search();
    } else if (event.key === "Escape") {
      zoom(frames[0]);
    }
  });
})();
