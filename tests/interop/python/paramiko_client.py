"""A client on Paramiko; see ../README.md for the commands."""

import os
import sys
import threading

import paramiko

VIA = os.environ.get("VIA")
AUTH_TIMEOUT = float(os.environ.get("AUTH_TIMEOUT", "120"))
REKEY = int(os.environ.get("REKEY", "0"))


def main(address, keys, host_key, command, *args):
    host, port = address.rsplit(":", 1)
    client = paramiko.SSHClient()
    kind, base64 = host_key.split()[:2]
    hosts = client.get_host_keys()
    name = f"[{host}]:{port}"
    known = paramiko.hostkeys.HostKeyEntry.from_line(f"{name} {kind} {base64}")
    hosts.add(name, kind, known.key)
    client.connect(
        host,
        int(port),
        username="someone",
        key_filename=keys.split(","),
        allow_agent=False,
        look_for_keys=False,
        sock=paramiko.ProxyCommand(VIA) if VIA else None,
        auth_timeout=AUTH_TIMEOUT,
    )
    if REKEY:
        client.get_transport().packetizer.REKEY_BYTES = REKEY
    status = COMMANDS[command](client, *args)
    client.close()
    return status


def exec_(client, command):
    channel = client.get_transport().open_session()
    channel.exec_command(command)
    both = [
        threading.Thread(target=copy_in, args=(channel,)),
        threading.Thread(target=copy_out, args=(channel.recv, sys.stdout.buffer)),
        threading.Thread(target=copy_out, args=(channel.recv_stderr, sys.stderr.buffer)),
    ]
    both[0].daemon = True
    for thread in both:
        thread.start()
    for thread in both[1:]:
        thread.join()
    return channel.recv_exit_status()


def copy_in(channel):
    while data := sys.stdin.buffer.read1(1 << 16):
        channel.sendall(data)
    channel.shutdown_write()


def copy_out(receive, file):
    while data := receive(1 << 16):
        file.write(data)
        file.flush()


def many(client, count, size):
    """So many commands at once on one connection, each with bytes of its own."""
    wrong = []

    def one(number):
        sent = os.urandom(int(size))
        channel = client.get_transport().open_session()
        channel.exec_command("cat; exit %d" % number)

        def send():
            channel.sendall(sent)
            channel.shutdown_write()

        sending = threading.Thread(target=send)
        sending.start()
        received = b""
        while data := channel.recv(1 << 16):
            received += data
        sending.join()
        if received != sent or channel.recv_exit_status() != number:
            wrong.append(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(int(count))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("wrong" if wrong else "right", *wrong)


def reach(client, host, port):
    """A connection to a target through the node, on standard input and output."""
    channel = client.get_transport().open_channel(
        "direct-tcpip", (host, int(port)), ("127.0.0.1", 1)
    )
    threading.Thread(target=copy_in, args=(channel,), daemon=True).start()
    copy_out(channel.recv, sys.stdout.buffer)


def listen(client, port):
    """Has the node listen and gives back what comes in, until standard input ends."""
    transport = client.get_transport()

    def come_in(channel, origin, server):
        threading.Thread(target=echo, args=(channel,), daemon=True).start()

    bound = transport.request_port_forward("127.0.0.1", int(port), handler=come_in)
    print("listening", bound, flush=True)
    sys.stdin.read()
    transport.cancel_port_forward("127.0.0.1", bound)
    print("cancelled", flush=True)


def echo(channel):
    while data := channel.recv(1 << 16):
        channel.sendall(data)
    channel.shutdown_write()
    channel.close()


def put(client, local, remote):
    client.open_sftp().put(local, remote)


def get(client, remote, local):
    client.open_sftp().get(remote, local)


def check(client, path):
    """What the server says a file hashes to."""
    with client.open_sftp().open(path) as file:
        print(file.check("sha256").hex())


def list_(client, path):
    print(*sorted(client.open_sftp().listdir(path)), sep="\n")


COMMANDS = {
    "exec": exec_,
    "many": many,
    "reach": reach,
    "listen": listen,
    "put": put,
    "get": get,
    "list": list_,
    "check": check,
}

if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (paramiko.SSHException, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(255)
