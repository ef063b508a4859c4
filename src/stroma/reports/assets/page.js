(function () {
  "use strict";
  var config = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "toggleSpikelines"],
  };

  /* A figure whose layout has meta.hover = "tile" shows the picture in the last entry of a point's customdata. */
  function showTiles(plot) {
    var box = document.createElement("div");
    var picture = document.createElement("img");
    box.className = "tile";
    box.hidden = true;
    picture.alt = "";
    box.appendChild(picture);
    document.body.appendChild(box);
    plot.on("plotly_hover", function (event) {
      var data = event.points[0].customdata;
      var source = Array.isArray(data) ? data[data.length - 1] : "";
      box.hidden = !source;
      if (!source) { return; }
      picture.src = source;
      var x = event.event.clientX, y = event.event.clientY;
      box.style.left = Math.max(4, x > window.innerWidth / 2 ? x - 160 : x + 20) + "px";
      box.style.top = Math.max(4, y > window.innerHeight / 2 ? y - 170 : y + 40) + "px";
    });
    plot.on("plotly_unhover", function () { box.hidden = true; });
  }

  /* Each figure starts as a picture; where plotly can draw it, the live form takes the picture's place. */
  function draw(source) {
    var plot = document.getElementById(source.dataset.plot);
    var figure = JSON.parse(source.textContent);
    plot.hidden = false;
    window.Plotly.newPlot(plot, figure.data, figure.layout, config).then(function () {
      if (figure.layout.meta && figure.layout.meta.hover === "tile") { showTiles(plot); }
    }, function () { plot.hidden = true; });
  }

  if (window.Plotly) {
    document.querySelectorAll("script[data-plot]").forEach(draw);
  }
})();
