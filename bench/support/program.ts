import type { LabCommands } from '../../src/lab/messages.ts'

/** The programs of the same build as the benchmark, with the flags that a lab gives them. */
export function ownCommands(speakerFlags: readonly string[] = ['--return-after', '1s']): LabCommands {
  return {
    speaker: [...program('speaker'), ...speakerFlags],
    controller: [...program('controller'), '--webhook-mode', 'disabled', '--pod-name', 'controller'],
  }
}

function program(command: string): string[] {
  const main = new URL('../../src/cli/main.js', import.meta.url).href
  // Started with -e, the arguments follow the program at once: main() expects a name between them.
  const script = `import(${JSON.stringify(main)}).then(it => it.main([process.argv[0], 'lodestone', ...process.argv.slice(1)]))`
  return [process.execPath, '-e', script, '--', command]
}
