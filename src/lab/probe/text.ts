import type { ProbeReport } from './probe.ts'

/** The report for people. Ends with a line feed. */
export function reportText(report: ProbeReport): string {
  const lines = [
    `${report.target} port ${report.port} over ${report.protocol}, every ${report.intervalMs} ms for ${report.durationMs} ms`,
    `sent ${report.sent}, answered ${report.answered}, lost ${report.lost}, late ${report.late}`,
    `latency p50 ${report.latencyMs.p50} ms, p99 ${report.latencyMs.p99} ms, max ${report.latencyMs.max} ms; ` +
      `sent late by at most ${report.maxSendLatenessMs} ms`,
  ]
  for (const { pod, node, client, answers } of report.answerers) {
    lines.push(`answered by ${pod} on ${node}, which saw ${client}: ${answers}`)
  }
  for (const outage of report.outages) {
    const after =
      outage.firstAnswerBy === null
        ? 'no answer any more'
        : `then ${outage.firstAnswerBy.pod} on ${outage.firstAnswerBy.node}`
    lines.push(
      `outage of ${outage.durationMs} ms from ${outage.fromMs} ms: ${outage.lost} lost, ${outage.late} late, ${after}`,
    )
  }
  if (report.outages.length === 0) lines.push('no outage')
  for (const mark of report.marks) lines.push(`mark ${mark.name} at ${mark.atMs} ms`)
  for (const [code, count] of Object.entries(report.errors)) lines.push(`error ${code}: ${count}`)
  return `${lines.join('\n')}\n`
}
