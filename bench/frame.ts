import { cpus, release, totalmem } from 'node:os'

/** One thing that is measured, for one of the programs that are compared. */
export type Subject = {
  readonly case: string
  /** 'lodestone', 'keepalived', 'kernel', ... */
  readonly subject: string
  readonly unit: 'ms' | 'us' | 'MB' | '1/s' | 'count'
  /** Why it cannot be measured here, for example a missing program: named in the output, never left out. */
  readonly missing?: string
  /** One measurement; several values where one run yields several. */
  run(): Promise<number | readonly number[]>
}

export type Bench = {
  readonly title: string
  readonly runs: number
  /** Runs of each subject before the first that counts. */
  readonly warmUp: number
  /** Prepares what the subjects share. `close` is always called. */
  open(): Promise<{ readonly subjects: readonly Subject[]; close(): Promise<void> }>
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

/** Runs the subjects interleaved (A B A B), so that a change of the machine's mood meets all of them. */
export async function runBench(name: string, bench: Bench, runs = bench.runs): Promise<BenchReport> {
  console.log(`${name}: ${bench.title}`)
  const opened = await bench.open()
  try {
    const present = opened.subjects.filter(subject => subject.missing === undefined)
    const values = new Map<Subject, number[]>(present.map(subject => [subject, []]))
    for (let round = -bench.warmUp; round < runs; round++) {
      for (const subject of present) {
        const measured = await subject.run()
        if (round >= 0) values.get(subject)?.push(...(typeof measured === 'number' ? [measured] : measured))
      }
      if (process.stderr.isTTY) process.stderr.write(`\r  round ${round + 1} of ${runs} `)
    }
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
    const results = opened.subjects.map(subject => summarize(subject, values.get(subject) ?? []))
    const [cpu] = cpus()
    const report: BenchReport = {
      bench: name,
      machine: {
        cpus: cpus().length,
        model: cpu?.model ?? 'unknown',
        memoryMb: Math.round(totalmem() / 2 ** 20),
        kernel: release(),
        node: process.version,
      },
      results,
    }
    console.log(formatTable(results))
    return report
  } finally {
    await opened.close()
  }
}

function summarize(subject: Subject, values: readonly number[]): BenchResult {
  return {
    case: subject.case,
    subject: subject.subject,
    unit: subject.unit,
    n: values.length,
    median: quantile(values, 0.5),
    p99: quantile(values, 0.99),
    max: quantile(values, 1),
    values,
    ...(subject.missing === undefined ? {} : { missing: subject.missing }),
  }
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
