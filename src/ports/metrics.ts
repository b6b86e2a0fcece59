export type MetricLabels = Readonly<Record<string, string>>

/** Numbers for Prometheus. Every name is declared once where the process is wired, with its help and its labels. */
export interface Metrics {
  /** The value from now on. Counters that are kept elsewhere are set too; they must never fall. */
  set(name: string, labels: MetricLabels, value: number): void
  add(name: string, labels: MetricLabels, delta: number): void
  /** One more value of a histogram. */
  observe(name: string, labels: MetricLabels, value: number): void
  /** The series with exactly these labels ends. */
  remove(name: string, labels: MetricLabels): void
}

/** Keeps the numbers and, of histograms, all values, under `name{label="value",...}` with labels in alphabetical order. */
export class FakeMetrics implements Metrics {
  readonly values = new Map<string, number>()
  readonly observed = new Map<string, number[]>()

  set(name: string, labels: MetricLabels, value: number): void {
    this.values.set(seriesName(name, labels), value)
  }

  add(name: string, labels: MetricLabels, delta: number): void {
    const series = seriesName(name, labels)
    this.values.set(series, (this.values.get(series) ?? 0) + delta)
  }

  observe(name: string, labels: MetricLabels, value: number): void {
    const series = seriesName(name, labels)
    const values = this.observed.get(series)
    if (values === undefined) this.observed.set(series, [value])
    else values.push(value)
  }

  remove(name: string, labels: MetricLabels): void {
    this.values.delete(seriesName(name, labels))
  }
}

function seriesName(name: string, labels: MetricLabels): string {
  const pairs = Object.keys(labels)
    .sort()
    .map(key => `${key}=${JSON.stringify(labels[key])}`)
  return pairs.length === 0 ? name : `${name}{${pairs.join(',')}}`
}
