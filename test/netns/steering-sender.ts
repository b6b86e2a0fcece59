// Sends frames as they are: argv[2] is the number of the interface, standard input has one frame in hexadecimal on each line; an empty line
// is answered by one.
import { createInterface } from 'node:readline'
import { LinuxPacketSockets } from '../../src/sys/packet-sockets.ts'

const socket = new LinuxPacketSockets().open({
  interfaceIndex: Number(process.argv[2]),
  protocol: 'arp',
  onFrame: () => {},
  onError: error => {
    throw error
  },
})
console.log('ready')
for await (const line of createInterface({ input: process.stdin })) {
  if (line === '') console.log()
  else while (!socket.send(Buffer.from(line, 'hex'))) await new Promise(resolve => setTimeout(resolve, 1))
}
socket.close()
