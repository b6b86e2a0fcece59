import type { KubeObject } from '../ports/kube.ts'
import type { BfdProfile } from './model.ts'
import { specReader } from './reader.ts'
import { type Report, refTo } from './report.ts'

/** The defaults are FRR's, which are what a MetalLB user has (metallb.md 1.1). */
export function parseBfdProfile(object: KubeObject, report: Report): BfdProfile {
  const ref = refTo('BFDProfile', object)
  const spec = specReader(object, report.at(ref), { required: false })
  const profile = {
    name: ref.name,
    receiveIntervalMs: spec.integer('receiveInterval', 10, 60_000) ?? 300,
    transmitIntervalMs: spec.integer('transmitInterval', 10, 60_000) ?? 300,
    detectMultiplier: spec.integer('detectMultiplier', 2, 255) ?? 3,
    echoIntervalMs: spec.integer('echoInterval', 10, 60_000) ?? 50,
    echoMode: spec.boolean('echoMode', false),
    passiveMode: spec.boolean('passiveMode', false),
    minimumTtl: spec.integer('minimumTtl', 1, 254) ?? 254,
  }
  spec.done()
  return profile
}
