// Light or dark, before the first paint: what the person chose, else what their system says.
(function () {
  "use strict";
  var root = document.documentElement;
  var system = window.matchMedia("(prefers-color-scheme: dark)");
  function chosen() {
    try { return localStorage.getItem("theme"); } catch (error) { return null; }
  }
  function apply() {
    root.setAttribute("data-bs-theme", chosen() || (system.matches ? "dark" : "light"));
    window.dispatchEvent(new Event("themechange"));
  }
  root.classList.add("js");
  apply();
  system.addEventListener("change", apply);
  window.addEventListener("storage", function (event) { if (event.key === "theme") { apply(); } });
  window.mailhearthTheme = {
    toggle: function () {
      var next = root.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
      try { localStorage.setItem("theme", next); } catch (error) { /* private window: for this page only */ }
      root.setAttribute("data-bs-theme", next);
      window.dispatchEvent(new Event("themechange"));
    },
  };
})();
