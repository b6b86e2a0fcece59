import assert from 'node:assert/strict'
import { cpus, release, totalmem } from 'node:os'

export type Unit = 'ms' | 'us' | 's' | 'MB' | '1/s' | 'count'

/** One of the programs that are compared, and what is measured of it. */
export type Subject = {
  /** 'lodestone', 'keepalived', 'kernel', ... */
  readonly subject: string
  /** What one run measures, and in which unit. */
  readonly cases: Readonly<Record<string, Unit>>
  /** Why it cannot be measured here, for example a missing program: named in the output, never left out. */
  readonly missing?: string
  /** One measurement of each case; several values where one run yields several. The round is -warmUp to -1 while nothing counts. */
  run(round: number): Promise<Readonly<Record<string, number | readonly number[]>>>
}

/** What a benchmark runs in. */
export type Scope = {
  /** Aborts when the benchmark is to end early. */
  readonly signal: AbortSignal
  /** Says what is going on, where somebody watches. */
  progress(text: string): void
  /** To be done at the end, however that comes; the last one first. */
  defer(undo: () => Promise<void> | void): void
}

export type Bench = {
  readonly title: string
  readonly runs: number
  /** Runs of each subject before the first that counts. */
  readonly warmUp: number
  /** Prepares what the subjects share. What it has to undo, it defers at once. */
  open(scope: Scope): Promise<readonly Subject[]>
}

export type BenchResult = {
  readonly case: string
  readonly subject: string
  readonly unit: string
  readonly n: number
  readonly median: number | null
  readonly p99: number | null
  readonly max: number | null
  readonly values: readonly number[]
  readonly missing?: string
}

export type BenchReport = {
  readonly bench: string
  readonly machine: {
    readonly cpus: number
    readonly model: string
    readonly memoryMb: number
    readonly kernel: string
    readonly node: string
  }
  readonly results: readonly BenchResult[]
}

/** The value below which `share` of the sorted values lie (nearest rank). Null when there are none. */
export function quantile(values: readonly number[], share: number): number | null {
  if (values.length === 0) return null
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? null
}

export type RunOptions = { readonly runs?: number; readonly signal?: AbortSignal }

/**
 * Runs the subjects interleaved (A B A B), so that a change of the machine's mood meets all of them.
 * @throws the abort's reason, or what a subject throws; everything deferred was done by then
 */
export async function runBench(name: string, bench: Bench, options: RunOptions = {}): Promise<BenchReport> {
  const { runs = bench.runs, signal = new AbortController().signal } = options
  const undo: (() => Promise<void> | void)[] = []
  let over = false
  const scope: Scope = {
    signal,
    progress: text => {
      if (!over) showProgress(text)
    },
    defer(step) {
      // Opened while the end was coming already.
      if (over) void cleanUp(name, [step])
      else undo.push(step)
    },
  }
  try {
    const work = measure(bench, runs, scope)
    // An abort does not wait for the measurement that is under way: ending what it uses ends it too.
    work.catch(() => {})
    const results = await Promise.race([work, aborted(signal)])
    return { bench: name, machine: machine(), results }
  } finally {
    over = true
    showProgress('')
    await cleanUp(name, undo.toReversed())
  }
}

/** One step that fails does not keep the others from being done. */
async function cleanUp(name: string, steps: readonly (() => Promise<void> | void)[]): Promise<void> {
  for (const step of steps) {
    try {
      await step()
    } catch (error) {
      console.error(`${name}: cleaning up: ${String(error)}`)
    }
  }
}

async function measure(bench: Bench, runs: number, scope: Scope): Promise<BenchResult[]> {
  const subjects = await bench.open(scope)
  const values = new Map(
    subjects.map(subject => [
      subject,
      new Map<string, number[]>(Object.keys(subject.cases).map(c => [c, []])),
    ]),
  )
  for (let round = -bench.warmUp; round < runs; round++) {
    for (const subject of subjects) {
      if (subject.missing !== undefined) continue
      scope.signal.throwIfAborted()
      const [first = ''] = Object.keys(subject.cases)
      const which = round < 0 ? 'warm-up' : `round ${round + 1} of ${runs}`
      scope.progress(`${which}: ${first}, ${subject.subject}`)
      const measured = await subject.run(round)
      if (round < 0) continue
      for (const [name, value] of Object.entries(measured)) {
        const known = values.get(subject)?.get(name)
        assert(known !== undefined, `${subject.subject} measured "${name}", which is none of its cases`)
        known.push(...(typeof value === 'number' ? [value] : value))
      }
    }
  }
  // The subjects of one case next to each other, in the order in which the cases came up.
  const results = subjects.flatMap(subject =>
    Object.entries(subject.cases).map(([name, unit]) =>
      summarize(subject, name, unit, values.get(subject)?.get(name) ?? []),
    ),
  )
  const order = [...new Set(results.map(result => result.case))]
  return order.flatMap(name => results.filter(result => result.case === name))
}

function summarize(subject: Subject, name: string, unit: Unit, values: readonly number[]): BenchResult {
  return {
    case: name,
    subject: subject.subject,
    unit,
    n: values.length,
    median: quantile(values, 0.5),
    p99: quantile(values, 0.99),
    max: quantile(values, 1),
    values,
    ...(subject.missing === undefined ? {} : { missing: subject.missing }),
  }
}

function machine(): BenchReport['machine'] {
  const processors = cpus()
  return {
    cpus: processors.length,
    model: processors[0]?.model ?? 'unknown',
    memoryMb: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    node: process.version,
  }
}

function showProgress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text === '' ? '' : `  ${text}`}`)
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const give = (): void => reject(signal.reason as Error)
    if (signal.aborted) give()
    else signal.addEventListener('abort', give, { once: true })
  })
}

/** A line per result; the ratio says how many times lodestone's median the other subject's is, in the same case. */
export function formatTable(results: readonly BenchResult[]): string {
  const header = ['case', 'subject', 'n', 'median', 'p99', 'max', 'unit', 'x lodestone']
  const rows = results.map(result => {
    const ours = results.find(other => other.case === result.case && other.subject === 'lodestone')?.median
    const ratio =
      result.subject === 'lodestone' ||
      result.median === null ||
      ours === undefined ||
      ours === null ||
      ours === 0
        ? ''
        : (result.median / ours).toFixed(2)
    if (result.missing !== undefined) return [result.case, result.subject, `missing: ${result.missing}`]
    return [
      result.case,
      result.subject,
      String(result.n),
      ...[result.median, result.p99, result.max].map(value => (value === null ? '-' : formatValue(value))),
      result.unit,
      ratio,
    ]
  })
  const widths = header.map((title, i) =>
    Math.max(
      title.length,
      ...rows.filter(row => row.length === header.length).map(row => (row[i] ?? '').length),
    ),
  )
  const right = (i: number) => i >= 2 && i !== 6
  return [header, ...rows]
    .map(row =>
      row
        .map((cell, i) =>
          right(i) && row.length === header.length
            ? cell.padStart(widths[i] ?? 0)
            : cell.padEnd(widths[i] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function formatValue(value: number): string {
  if (Math.abs(value) >= 1000) return value.toFixed(0)
  return Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(3)
}
