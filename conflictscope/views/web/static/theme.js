// Before anything is drawn: the theme that was chosen here, if one was; else that of the system.
"use strict";
const chosen = localStorage.getItem("theme");
if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
