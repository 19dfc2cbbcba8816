// The 3D view of a report. No library, no network: everything it draws stands in the page (layout: scene.rs).
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const message = byId("viewer-message");
  const stop = (reason) => {
    message.textContent = `No 3D view: ${reason}. The numbers and pictures of this report do not need it.`;
    message.hidden = false;
    document.body.dataset.viewer = "none";
  };

  // Anchors of a map from dark blue over green to yellow, ordered in lightness: it reads without colour vision and in grey.
  const COLOURS = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142],
    [31, 158, 137], [53, 183, 121], [110, 206, 88], [181, 222, 43], [253, 231, 37]];
  const GRADIENT = `linear-gradient(to right, ${COLOURS.map((c) => `rgb(${c})`).join(", ")})`;
  const MODE = { support: 0, density: 1, displacement: 2, plastic: 3, zone: 4 };

  // Rows of a view: the directions (LPS) that run to the right, up and towards the reader.
  const VIEWS = {
    front: [1, 0, 0, 0, 0, 1, 0, -1, 0],
    back: [-1, 0, 0, 0, 0, 1, 0, 1, 0],
    left: [0, 1, 0, 0, 0, 1, 1, 0, 0],
    right: [0, -1, 0, 0, 0, 1, -1, 0, 0],
    top: [-1, 0, 0, 0, -1, 0, 0, 0, 1],
  };

  const VERTEX = `#version 300 es
    in vec3 position; in vec3 moved; in float scalar; in float support; in vec3 normal;
    uniform mat3 turn; uniform vec2 scale; uniform vec2 pan; uniform float depth, positionStep, movedStep, warp, pointSize, farthest;
    uniform int mode;
    out vec3 seen; out vec3 smoothNormal; out float value; out float supported;
    void main() {
      vec3 u = moved * movedStep;
      seen = turn * (position * positionStep + warp * u);
      value = mode == 2 ? length(u) / farthest : scalar;
      supported = support * 255.0;
      smoothNormal = turn * normal;
      gl_Position = vec4(seen.xy * scale + pan, -seen.z * depth, 1.0);
      gl_PointSize = pointSize;
    }`;
  const FRAGMENT = `#version 300 es
    precision highp float; precision highp int;
    in vec3 seen; in vec3 smoothNormal; in float value; in float supported;
    uniform int mode; uniform bool points; uniform sampler2D map;
    out vec4 colour;
    void main() {
      vec3 base = vec3(0.87, 0.84, 0.78);
      float light = 1.0, alpha = 1.0;
      if (points) {
        if (value <= 0.0) discard;
        base = texture(map, vec2(value, 0.5)).rgb;
      } else {
        // Mostly smoothed, so that a staircase of voxels shows its shape; a part by the faces, so that they can be told.
        vec3 face = normalize(cross(dFdx(seen), dFdy(seen))), shape = normalize(smoothNormal + vec3(0.0, 0.0, 1e-6));
        vec3 lamp = normalize(vec3(-0.4, 0.5, 0.75));
        light = 0.25 + 0.6 * abs(dot(shape, lamp)) + 0.15 * abs(dot(face, lamp));
        if (mode == 0) {
          // Free lies between: what is interpolated from loaded to free is nowhere held.
          if (supported > 1.5) base = vec3(0.80, 0.36, 0.10);
          else if (supported < 0.5) base = vec3(0.22, 0.42, 0.69);
        } else if (mode == 4) {
          alpha = 0.06 + 0.5 * pow(1.0 - abs(shape.z), 2.0);
        } else {
          base = texture(map, vec2(clamp(value, 0.0, 1.0), 0.5)).rgb;
        }
      }
      colour = vec4(base * light * alpha, alpha);
    }`;

  // Numbers were written as differences, byte planes one after the other.
  class Reader {
    constructor(bytes) { this.bytes = bytes; this.at = 0; }
    take(count) { const part = this.bytes.subarray(this.at, this.at + count); this.at += count; return part; }
    vectors(count) {
      const out = new Int16Array(4 * count); // four, because attributes are read in steps of four bytes
      for (let axis = 0; axis < 3; axis++) {
        const low = this.take(count), high = this.take(count);
        for (let i = 0, value = 0; i < count; i++) {
          value = (value + low[i] + 256 * high[i]) & 0xffff;
          out[4 * i + axis] = value;
        }
      }
      return out;
    }
    numbers(count) {
      const planes = [0, 1, 2, 3].map(() => this.take(count));
      const out = new Uint32Array(count);
      for (let i = 0, value = 0; i < count; i++) {
        value = (value + planes[0][i] + 256 * planes[1][i] + 65536 * planes[2][i] + 16777216 * planes[3][i]) >>> 0;
        out[i] = value;
      }
      return out;
    }
  }

  async function inflate(text) {
    const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  function program(gl) {
    const made = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(made, shader);
    }
    ["position", "moved", "scalar", "support", "normal"].forEach((name, place) => gl.bindAttribLocation(made, place, name));
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
    return made;
  }

  // A body to draw: buffers of positions, displacements, scalars and supports under one vertex array.
  function body(gl, positions, supports, normals, indices) {
    const array = gl.createVertexArray();
    gl.bindVertexArray(array);
    const buffer = (place, data, size, type, normalised) => {
      const made = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, made);
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, size, type, normalised, { 0: 8, 1: 8, 4: 4 }[place] ?? 0, 0);
      return made;
    };
    buffer(0, positions, 3, gl.SHORT, false);
    const moved = buffer(1, new Int16Array(positions.length), 3, gl.SHORT, false);
    const scalar = buffer(2, new Uint8Array(positions.length / 4), 1, gl.UNSIGNED_BYTE, true);
    buffer(3, supports, 1, gl.UNSIGNED_BYTE, true);
    buffer(4, normals, 3, gl.BYTE, true);
    if (indices) {
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices, gl.STATIC_DRAW);
    }
    gl.bindVertexArray(null);
    const put = (target, data) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, target);
      gl.bufferSubData(gl.ARRAY_BUFFER, 0, data);
    };
    return { array, setMoved: (data) => put(moved, data), setScalar: (data) => put(scalar, data) };
  }

  // Normals at the nodes, averaged over the neighbours a few times: the faces of voxels know six directions only.
  function smoothNormals(positions, triangles) {
    const count = positions.length / 4;
    let normals = new Float32Array(3 * count);
    for (let t = 0; t < triangles.length; t += 3) {
      const [a, b, c] = [4 * triangles[t], 4 * triangles[t + 1], 4 * triangles[t + 2]];
      const [ux, uy, uz, vx, vy, vz] = [0, 1, 2].map((i) => positions[b + i] - positions[a + i]).concat([0, 1, 2].map((i) => positions[c + i] - positions[a + i]));
      const n = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
      for (let k = 0; k < 3; k++) for (let i = 0; i < 3; i++) normals[3 * triangles[t + k] + i] += n[i];
    }
    for (let pass = 0; pass < 4; pass++) {
      const next = normals.slice();
      for (let t = 0; t < triangles.length; t += 3) {
        for (let i = 0; i < 3; i++) {
          const [a, b, c] = [3 * triangles[t] + i, 3 * triangles[t + 1] + i, 3 * triangles[t + 2] + i];
          const sum = normals[a] + normals[b] + normals[c];
          next[a] += sum; next[b] += sum; next[c] += sum;
        }
      }
      for (let i = 0; i < next.length; i += 3) {
        const length = Math.hypot(next[i], next[i + 1], next[i + 2]) || 1;
        for (let k = 0; k < 3; k++) next[i + k] /= length;
      }
      normals = next;
    }
    const out = new Int8Array(4 * count);
    for (let i = 0; i < count; i++) for (let k = 0; k < 3; k++) out[4 * i + k] = Math.round(127 * normals[3 * i + k]);
    return out;
  }

  function colourMap(gl) {
    const texels = new Uint8Array(4 * 256);
    for (let i = 0; i < 256; i++) {
      const at = i / 255 * (COLOURS.length - 1), low = Math.min(Math.floor(at), COLOURS.length - 2);
      for (let c = 0; c < 3; c++) texels[4 * i + c] = COLOURS[low][c] + (at - low) * (COLOURS[low + 1][c] - COLOURS[low][c]);
      texels[4 * i + 3] = 255;
    }
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, texels);
    for (const [name, value] of [["MIN_FILTER", "LINEAR"], ["MAG_FILTER", "LINEAR"], ["WRAP_S", "CLAMP_TO_EDGE"], ["WRAP_T", "CLAMP_TO_EDGE"]]) {
      gl.texParameteri(gl.TEXTURE_2D, gl[`TEXTURE_${name}`], gl[value]);
    }
  }

  const product = (a, b) => {
    const out = [];
    for (let r = 0; r < 3; r++) for (let c = 0; c < 3; c++) out.push(a[3 * r] * b[c] + a[3 * r + 1] * b[3 + c] + a[3 * r + 2] * b[6 + c]);
    return out;
  };
  const turned = (view, dx, dy) => {
    const [cx, sx, cy, sy] = [Math.cos(dx), Math.sin(dx), Math.cos(dy), Math.sin(dy)];
    return product(product([1, 0, 0, 0, cy, -sy, 0, sy, cy], [cx, 0, sx, 0, 1, 0, -sx, 0, cx]), view);
  };

  async function start() {
    if (typeof DecompressionStream === "undefined") return stop("this browser cannot unpack its data (DecompressionStream)");
    const canvas = byId("canvas");
    // The picture is kept, so that it is on the paper when the page is printed.
    const gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
    if (!gl) return stop("this browser has no WebGL 2");
    const head = JSON.parse(byId("scene").textContent);
    const bytes = await inflate(byId("scene-data").textContent);
    if (bytes.length !== head.bytes) return stop("its data are damaged");

    const reader = new Reader(bytes), n = head.nodes, m = head.points;
    const positions = reader.vectors(n), triangles = reader.numbers(3 * head.triangles);
    const density = reader.take(n), supports = reader.take(n), places = reader.vectors(m);
    // The body before it is loaded comes first.
    const states = [{ moved: new Int16Array(4 * n), plastic: new Uint8Array(n), zoneMoved: new Int16Array(4 * m), zone: new Uint8Array(m) }];
    for (let i = 0; i < head.frames.length; i++) {
      states.push({ moved: reader.vectors(n), plastic: reader.take(n), zoneMoved: reader.vectors(m), zone: reader.take(m) });
    }
    let farthest = 0, reach = 0;
    for (const state of states) {
      for (let i = 0; i < state.moved.length; i += 4) farthest = Math.max(farthest, Math.hypot(state.moved[i], state.moved[i + 1], state.moved[i + 2]));
    }
    farthest = Math.max(farthest * head.displacement_mm, 1e-9);
    for (let i = 0; i < positions.length; i += 4) reach = Math.max(reach, Math.hypot(positions[i], positions[i + 1], positions[i + 2]));
    reach = Math.max(reach * head.position_mm, 1e-3);

    const shader = program(gl);
    const at = (name) => gl.getUniformLocation(shader, name);
    const uniforms = Object.fromEntries(["turn", "scale", "pan", "depth", "positionStep", "movedStep", "warp", "pointSize", "farthest", "mode", "points"].map((name) => [name, at(name)]));
    gl.useProgram(shader);
    colourMap(gl);
    const shell = body(gl, positions, supports, smoothNormals(positions, triangles), triangles);
    const zone = body(gl, places, new Uint8Array(m), new Int8Array(4 * m), null);

    const step = byId("step"), colour = byId("colour"), warp = byId("warp");
    step.max = head.frames.length;
    const last = head.frames.length;
    const off = (frame) => Math.abs(frame.displacement_mm - head.failure_mm);
    const failure = head.failure_mm === null ? 0 : 1 + head.frames.reduce((best, frame, i) => off(frame) < off(head.frames[best]) ? i : best, 0);
    step.value = failure || last;
    let view = turned(VIEWS.front, 0.4, 0.15), zoom = 1, pan = [0, 0];

    function load() {
      const state = states[Number(step.value)];
      shell.setMoved(state.moved);
      shell.setScalar(colour.value === "density" ? density : state.plastic);
      zone.setMoved(state.zoneMoved);
      zone.setScalar(state.zone);
      const frame = head.frames[Number(step.value) - 1];
      let text = "not loaded";
      if (frame) {
        text = `increment ${frame.increment ?? "?"}: ${frame.displacement_mm.toFixed(3)} mm`;
        if (frame.force_n !== null) text += `, ${frame.force_n.toFixed(0)} N`;
        if (Number(step.value) === failure) text += off(frame) < 1e-6 ? " (failure load)" : " (nearest to the failure load)";
      }
      byId("state").textContent = text;
      legend();
      draw();
    }

    function legend() {
      const bar = (low, high, unit) => `<span>${low}</span><i style="background:${GRADIENT}"></i><span>${high} ${unit}</span>`;
      const strain = `≥ ${(100 * head.plastic_strain).toPrecision(2)}`;
      byId("legend").innerHTML = {
        support: '<b class="loaded"></b>loaded <b class="held"></b>held',
        density: bar(head.density_mg_cm3[0].toFixed(0), head.density_mg_cm3[1].toFixed(0), "mg/cm³"),
        displacement: bar("0", farthest.toPrecision(3), "mm"),
        plastic: bar("0", strain, "% plastic strain"),
        zone: bar("0", strain, "% plastic strain"),
      }[colour.value];
    }

    function draw() {
      const ratio = window.devicePixelRatio || 1;
      const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((length) => Math.max(1, Math.round(length * ratio)));
      if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
      gl.viewport(0, 0, width, height);
      gl.clearColor(1, 1, 1, 1);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      gl.enable(gl.DEPTH_TEST);
      const perMm = zoom * Math.min(width, height) / (2.1 * reach); // pixels
      const mode = MODE[colour.value];
      gl.uniformMatrix3fv(uniforms.turn, true, view);
      gl.uniform2f(uniforms.scale, 2 * perMm / width, 2 * perMm / height);
      gl.uniform2f(uniforms.pan, ...pan);
      gl.uniform1f(uniforms.depth, 0.25 / reach);
      gl.uniform1f(uniforms.positionStep, head.position_mm);
      gl.uniform1f(uniforms.movedStep, head.displacement_mm);
      gl.uniform1f(uniforms.warp, Number(warp.value));
      gl.uniform1f(uniforms.pointSize, Math.max(1.5, perMm * head.point_mm));
      gl.uniform1f(uniforms.farthest, farthest);
      gl.uniform1i(uniforms.mode, mode);
      if (mode === MODE.zone && m > 0) {
        gl.disable(gl.BLEND);
        gl.uniform1i(uniforms.points, 1);
        gl.bindVertexArray(zone.array);
        gl.drawArrays(gl.POINTS, 0, m);
      }
      gl.uniform1i(uniforms.points, 0);
      gl.bindVertexArray(shell.array);
      if (mode === MODE.zone) {
        gl.enable(gl.BLEND);
        gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
        gl.depthMask(false);
      } else {
        gl.disable(gl.BLEND);
      }
      gl.drawElements(gl.TRIANGLES, 3 * head.triangles, gl.UNSIGNED_INT, 0);
      gl.depthMask(true);
      triad();
    }

    // The patient's left, back and head beside the picture.
    function triad() {
      const axes = [["L", 0], ["P", 1], ["S", 2]].sort((a, b) => view[6 + a[1]] - view[6 + b[1]]);
      byId("triad").innerHTML = axes.map(([letter, axis]) => {
        const [x, y] = [24 * view[axis], -24 * view[3 + axis]];
        if (Math.hypot(x, y) < 8) return ""; // it points at the reader
        return `<line x2="${x}" y2="${y}"/><text x="${1.35 * x}" y="${1.35 * y + 4}">${letter}</text>`;
      }).join("");
    }

    let waiting = false;
    const soon = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; draw(); });
    };
    const turn = (dx, dy) => { view = turned(view, dx, dy); soon(); };
    const zoomBy = (factor) => { zoom = Math.min(20, Math.max(0.3, zoom * factor)); soon(); };

    const fingers = new Map();
    const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
    canvas.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const apart = fingers.size === 2 ? spread() : 0;
      const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]];
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      if (fingers.size === 2) {
        zoomBy(spread() / Math.max(apart, 1));
      } else if (event.shiftKey) {
        pan = [pan[0] + 2 * dx / canvas.clientWidth, pan[1] - 2 * dy / canvas.clientHeight];
        soon();
      } else {
        turn(dx * 0.01, dy * 0.01);
      }
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoomBy(Math.exp(-0.0015 * event.deltaY)); }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
      if (moves[event.key]) { event.preventDefault(); turn(...moves[event.key]); }
      else if (event.key === "+") zoomBy(1.1);
      else if (event.key === "-") zoomBy(1 / 1.1);
    });
    for (const button of document.querySelectorAll("[data-view]")) {
      button.addEventListener("click", () => { view = VIEWS[button.dataset.view]; zoom = 1; pan = [0, 0]; soon(); });
    }
    step.addEventListener("input", load);
    colour.addEventListener("input", load);
    warp.addEventListener("input", draw);
    new ResizeObserver(draw).observe(canvas);
    canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); stop("the graphics card gave up; reload the page"); });

    message.hidden = true;
    load();
    const pixels = new Uint8Array(4 * canvas.width * canvas.height);
    gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    let painted = 0;
    for (let i = 0; i < pixels.length; i += 4) if (pixels[i] < 250 || pixels[i + 2] < 250) painted++;
    // What a test, or a doubtful reader, can look up.
    Object.assign(document.body.dataset, { viewer: gl.getError() === gl.NO_ERROR ? "ready" : "failed", triangles: head.triangles, painted });
  }

  start().catch((error) => stop(error.message));
})();
