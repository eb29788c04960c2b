"""A client on asyncssh; see ../README.md for the commands."""

import asyncio
import os
import sys
import warnings

warnings.simplefilter("ignore")
import asyncssh

VIA = os.environ.get("VIA")
REKEY = os.environ.get("REKEY")


async def main(address, keys, host_key, command, *args):
    host, port = address.rsplit(":", 1)
    options = {"proxy_command": VIA} if VIA else {}
    if REKEY:
        options["rekey_bytes"] = int(REKEY)
    trusted = asyncssh.import_public_key(host_key)
    async with asyncssh.connect(
        host,
        int(port),
        username="someone",
        client_keys=keys.split(","),
        agent_path=None,
        known_hosts=([trusted], [], []),
        config=None,
        **options,
    ) as connection:
        return await COMMANDS[command](connection, *args)


async def exec_(connection, command):
    process = await connection.create_process(
        command,
        stdin=sys.stdin.buffer,
        stdout=os.fdopen(os.dup(1), "wb"),
        stderr=os.fdopen(os.dup(2), "wb"),
        encoding=None,
    )
    ended = await process.wait()
    if ended.exit_signal:
        print("exit-signal", ended.exit_signal[0], file=sys.stderr)
        return 255
    return ended.exit_status


async def many(connection, count, size):
    """So many commands at once on one connection, each with bytes of its own."""

    async def one(number):
        sent = os.urandom(int(size))
        ended = await connection.run(f"cat; exit {number}", input=sent, encoding=None)
        return ended.stdout == sent and ended.exit_status == number

    right = await asyncio.gather(*[one(number) for number in range(int(count))])
    print("right" if all(right) else f"wrong {right}")


async def reach(connection, host, port):
    """A connection to a target through the node, on standard input and output."""
    reader, writer = await connection.open_connection(host, int(port), encoding=None)
    loop = asyncio.get_running_loop()

    async def copy_in():
        while data := await loop.run_in_executor(None, sys.stdin.buffer.read1, 1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(copy_in())
    while data := await reader.read(1 << 16):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    await sending


async def listen(connection, port):
    """Has the node listen and gives back what comes in, until standard input ends."""

    async def echo(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
        writer.close()

    listener = await connection.start_server(
        lambda _host, _port: echo, "127.0.0.1", int(port), encoding=None
    )
    print("listening", listener.get_port(), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    listener.close()
    await listener.wait_closed()
    print("cancelled", flush=True)


async def put(connection, local, remote):
    async with connection.start_sftp_client() as sftp:
        await sftp.put(local, remote)


async def get(connection, remote, local):
    async with connection.start_sftp_client() as sftp:
        await sftp.get(remote, local)


async def list_(connection, path):
    async with connection.start_sftp_client() as sftp:
        names = await sftp.listdir(path)
        print(*sorted(name for name in names if name not in (".", "..")), sep="\n")


COMMANDS = {
    "exec": exec_,
    "many": many,
    "reach": reach,
    "listen": listen,
    "put": put,
    "get": get,
    "list": list_,
}

if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(*sys.argv[1:])))
    except (asyncssh.Error, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(255)
