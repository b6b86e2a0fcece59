import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { MetricLabels, Metrics } from '../ports/metrics.ts'

export type MetricDefinition = {
  readonly name: string
  readonly help: string
  readonly labels: readonly string[]
} & (
  | { readonly type: 'gauge' | 'counter' }
  /** Upper bounds, ascending. */
  | { readonly type: 'histogram'; readonly buckets: readonly number[] }
)

/** Metrics in a registry of their own; `text` is what Prometheus scrapes. */
export class PrometheusMetrics implements Metrics {
  readonly #registry = new Registry()
  readonly #metrics = new Map<string, Gauge | Counter | Histogram>()
  /** Last value of counters that are kept elsewhere: prom-client only adds. */
  readonly #counted = new Map<string, number>()

  constructor(definitions: readonly MetricDefinition[]) {
    for (const definition of definitions) {
      const { name, help, labels } = definition
      const options = { name, help, labelNames: [...labels], registers: [this.#registry] }
      if (definition.type === 'histogram') {
        this.#metrics.set(name, new Histogram({ ...options, buckets: [...definition.buckets] }))
        continue
      }
      const metric = definition.type === 'gauge' ? new Gauge(options) : new Counter(options)
      if (labels.length === 0) metric.inc(0)
      this.#metrics.set(name, metric)
    }
  }

  set(name: string, labels: MetricLabels, value: number): void {
    const metric = this.#number(name)
    if (metric instanceof Gauge) {
      metric.set(labels, value)
      return
    }
    const series = `${name} ${JSON.stringify(labels)}`
    const more = value - (this.#counted.get(series) ?? 0)
    this.#counted.set(series, value)
    if (more > 0) metric.inc(labels, more)
  }

  add(name: string, labels: MetricLabels, delta: number): void {
    this.#number(name).inc(labels, delta)
  }

  observe(name: string, labels: MetricLabels, value: number): void {
    const metric = this.#metric(name)
    if (!(metric instanceof Histogram)) throw new Error(`metric ${name} is no histogram`)
    metric.observe(labels, value)
  }

  remove(name: string, labels: MetricLabels): void {
    this.#metric(name).remove(labels)
    this.#counted.delete(`${name} ${JSON.stringify(labels)}`)
  }

  /** In the text format, version 0.0.4. */
  text(): Promise<string> {
    return this.#registry.metrics()
  }

  #number(name: string): Gauge | Counter {
    const metric = this.#metric(name)
    if (metric instanceof Histogram) throw new Error(`metric ${name} is a histogram`)
    return metric
  }

  #metric(name: string): Gauge | Counter | Histogram {
    const metric = this.#metrics.get(name)
    if (metric === undefined) throw new Error(`metric ${name} is not declared`)
    return metric
  }
}
