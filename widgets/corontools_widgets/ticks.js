// Axis ticks as a person would choose them, the same as those of the static figures: steps of 1, 2 or 5, and decades on
// logarithmic axes. "10^-5" in a label stands for a superscript.

const MINUS = "\u2212";
const STRIDES = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500]; // decades between ticks
const PLAIN = [1e-3, 1e5]; // numbers between these are written without a power of ten
const HIGH = { "-": "⁻", [MINUS]: "⁻", "+": "⁺", ...[..."⁰¹²³⁴⁵⁶⁷⁸⁹"] };

const power = (exponent) => `10^${exponent}`.replace("-", MINUS);
const float = (digit, exponent) => Number(`${digit}e${exponent}`); // the float nearest to the decimal
const floorLog = (value) => Math.floor(Math.log10(value) + 1e-9);

export function tickStep(low, high, count) {
  const raw = (high - low) / count;
  const exponent = Math.floor(Math.log10(raw));
  const ratio = raw / float(1, exponent);
  const mantissa = [1, 2, 5].find((m) => m >= ratio * (1 - 1e-9));
  return mantissa ? [mantissa, exponent] : [1, exponent + 1];
}

function multiples(low, high, mantissa, exponent) {
  const step = float(mantissa, exponent);
  const values = [];
  for (let i = Math.ceil(low / step - 1e-9); i <= Math.floor(high / step + 1e-9); i++) {
    values.push(float(i * mantissa, exponent) + 0); // no minus zero
  }
  return values;
}

// Without those of `others`: a minor tick under a major one would show beside it.
const without = (values, others) => values.filter((v) => !others.some((o) => Math.abs(o - v) <= 1e-9 * Math.abs(v)));

export function linearTicks(low, high, count = 6, whole = false) {
  let [mantissa, exponent] = tickStep(low, high, count);
  if (whole && exponent < 0) [mantissa, exponent] = [1, 0];
  const major = multiples(low, high, mantissa, exponent);
  const finer = { 1: [2, exponent - 1], 2: [5, exponent - 1], 5: [1, exponent] }[mantissa];
  const minor = whole && finer[1] < 0 ? [] : without(multiples(low, high, ...finer), major);
  return { major, minor, ...linearLabels(major, exponent) };
}

function linearLabels(values, exponent) {
  const largest = Math.max(0, ...values.map(Math.abs));
  const plain = largest === 0 || (PLAIN[0] * 10 <= largest && largest < PLAIN[1]);
  const taken = plain ? 0 : floorLog(largest);
  const decimals = Math.min(100, Math.max(0, taken - exponent));
  const written = (v) => (v === 0 ? "0" : (v / float(1, taken)).toFixed(decimals).replace("-", MINUS));
  return { labels: values.map(written), factor: taken ? `×${power(taken)}` : "" };
}

function inDecades(low, high, digits, stride) {
  const first = Math.floor(Math.log10(low));
  const values = [];
  for (let p = Math.floor(first / stride) * stride; p <= Math.ceil(Math.log10(high)); p += stride) {
    values.push(...digits.map((digit) => float(digit, p)));
  }
  return values.filter((v) => v >= low * (1 - 1e-9) && v <= high * (1 + 1e-9));
}

function strideFor(low, high, count) {
  const shown = STRIDES.map((s) => [s, inDecades(low, high, [1], s).length]).filter(([, n]) => n >= 2);
  return (shown.find(([, n]) => n <= count) || shown[shown.length - 1])[0];
}

export function logTicks(low, high, count = 6) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = floorLog(high);
  const fine = inDecades(low, high, [1, 2, 3, 4, 5, 6, 7, 8, 9], 1);
  let major = inDecades(low, high, [1, 2, 5], 1);
  let minor = fine;
  if (last - first >= 2 || (last - first === 1 && count < 4)) {
    const stride = strideFor(low, high, Math.max(count, 2));
    major = inDecades(low, high, [1], stride);
    minor = stride === 1 ? fine : inDecades(low, high, [1], Math.max(1, Math.floor(stride / 10)));
  } else if (major.length < 2) {
    return linearTicks(low, high, count);
  }
  return { major, minor: without(minor, major), labels: logLabels(major), factor: "" };
}

function logLabels(values) {
  const near = values[0] >= 0.01 && values[values.length - 1] <= 1e4;
  return near ? values.map((v) => String(Number(v.toPrecision(6)))) : values.map(decadeLabel);
}

function decadeLabel(value) {
  const [digit, exponent] = value.toExponential(0).split("e");
  return (digit === "1" ? "" : `${digit}×`) + power(Number(exponent));
}

// A number by itself; `digits` keeps its width while the pointer moves.
export function number(value, digits = 4) {
  if (value === null || !Number.isFinite(value)) return "—";
  const size = Math.abs(value);
  if (value === 0 || (PLAIN[0] <= size && size < PLAIN[1])) {
    const text = size < 1e4 ? value.toPrecision(digits) : value.toFixed(0);
    return (text.includes("e") ? String(Number(text)) : text).replace("-", MINUS);
  }
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
  return `${mantissa.replace("-", MINUS)}×${power(Number(exponent))}`;
}

// For places without superscripts of their own: 10^-5 as 10⁻⁵.
export function raised(text) {
  return text.replace(/\^([-+\u2212]?[0-9]+)/g, (_, digits) => [...digits].map((d) => HIGH[d]).join(""));
}
