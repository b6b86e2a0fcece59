import { failoverBench } from './failover/table.ts'

export const bench = failoverBench(5)
