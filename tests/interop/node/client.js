// A client on ssh2; see ../README.md for the commands.
'use strict';

const { spawn } = require('child_process');
const { randomBytes } = require('crypto');
const { readFileSync } = require('fs');
const { Duplex } = require('stream');
const { Client } = require('ssh2');

const [address, keys, hostKey, command, ...args] = process.argv.slice(2);
const client = new Client();

function fail(error) {
  console.error(String(error));
  process.exit(255);
}

// Lets what was written go out first.
function done(status) {
  client.end();
  process.exitCode = status;
}

const commands = {
  exec(line) {
    client.exec(line, (error, channel) => {
      if (error) return fail(error);
      process.stdin.pipe(channel);
      channel.pipe(process.stdout);
      channel.stderr.pipe(process.stderr);
      channel.on('exit', (status, signal) => {
        if (signal) console.error('exit-signal', signal);
        process.exitCode = signal ? 255 : status;
      });
      channel.on('close', () => {
        process.stdin.destroy();
        client.end();
      });
    });
  },

  // So many commands at once on one connection, each with bytes of its own.
  many(count, size) {
    const one = (number) => new Promise((resolve) => {
      client.exec(`cat; exit ${number}`, (error, channel) => {
        if (error) return fail(error);
        const sent = randomBytes(Number(size));
        const received = [];
        let status;
        channel.on('data', (data) => received.push(data));
        channel.on('exit', (code) => { status = code; });
        channel.on('close', () => resolve(
          status === number && Buffer.concat(received).equals(sent)));
        channel.end(sent);
      });
    });
    Promise.all(Array.from({ length: Number(count) }, (_, number) => one(number)))
      .then((right) => {
        console.log(right.every(Boolean) ? 'right' : `wrong ${right}`);
        done(0);
      });
  },

  // A connection to a target through the node, on standard input and output.
  reach(host, port) {
    client.forwardOut('127.0.0.1', 1, host, Number(port), (error, channel) => {
      if (error) return fail(error);
      process.stdin.pipe(channel).pipe(process.stdout);
      channel.on('close', () => done(0));
    });
  },

  // Has the node listen and gives back what comes in, until standard input ends.
  listen(port) {
    client.on('tcp connection', (_, accept) => {
      const channel = accept();
      channel.pipe(channel);
    });
    client.forwardIn('127.0.0.1', Number(port), (error, bound) => {
      if (error) return fail(error);
      console.log('listening', bound);
      process.stdin.resume().on('end', () => {
        client.unforwardIn('127.0.0.1', bound, (error) => {
          if (error) return fail(error);
          console.log('cancelled');
          done(0);
        });
      });
    });
  },

  put(local, remote) {
    sftp((sftp) => sftp.fastPut(local, remote, end));
  },

  get(remote, local) {
    sftp((sftp) => sftp.fastGet(remote, local, end));
  },

  list(path) {
    sftp((sftp) => sftp.readdir(path, (error, entries) => {
      if (error) return fail(error);
      for (const name of entries.map((entry) => entry.filename).sort()) console.log(name);
      done(0);
    }));
  },
};

function sftp(use) {
  client.sftp((error, sftp) => (error ? fail(error) : use(sftp)));
}

function end(error) {
  if (error) fail(error);
  else done(0);
}

function proxied() {
  const child = spawn('sh', ['-c', process.env.VIA], { stdio: ['pipe', 'pipe', 'inherit'] });
  return Duplex.from({ writable: child.stdin, readable: child.stdout });
}

const [host, port] = address.split(':');
client.on('ready', () => commands[command](...args));
client.on('error', fail);
client.connect({
  host,
  port: Number(port),
  sock: process.env.VIA ? proxied() : undefined,
  username: 'someone',
  authHandler: keys.split(',').map((key) => (
    { type: 'publickey', username: 'someone', key: readFileSync(key) })),
  hostVerifier: (offered) => offered.toString('base64') === hostKey.split(' ')[1],
});
