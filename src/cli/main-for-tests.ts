// The built command line of whichever folder the tests were built into, as a program.
import { main } from './main.ts'

await main(process.argv)
