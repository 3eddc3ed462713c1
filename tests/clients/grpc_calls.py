"""Calls of gRPC through Proxima, by grpcio, which shares no code with it, to an origin that is grpcio's, too.

Serves on a port that the kernel chooses and says which; when a line comes on standard input, makes its calls and tells as a
line of JSON what came of them.

    python grpc_calls.py --connect ADDRESS:PORT --ca FILE --host NAME
"""

import argparse
import datetime
import json
import queue
import sys
from concurrent import futures

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# What takes longer hangs.
PATIENCE = 20


def certificate(host):
    """A key, and a certificate of it that nobody else signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key, made.public_bytes(pem)


class Origin(grpc.GenericRpcHandler):
    """A service whose messages are octets."""

    def service(self, call):
        return {
            "/test/Echo": grpc.unary_unary_rpc_method_handler(self.echo),
            "/test/Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "/test/Count": grpc.unary_stream_rpc_method_handler(self.count),
            "/test/Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            "/test/Chat": grpc.stream_stream_rpc_method_handler(self.chat),
        }.get(call.method)

    def echo(self, message, context):
        sent = dict(context.invocation_metadata())
        context.set_trailing_metadata((("x-saw", sent.get("x-asked", "nothing")),))
        return message

    def refuse(self, message, context):
        context.abort(grpc.StatusCode.NOT_FOUND, "there is none: 100 %")

    def count(self, message, context):
        yield from (str(number).encode() for number in range(int(message)))

    def sum(self, messages, context):
        return str(sum(int(message) for message in messages)).encode()

    def chat(self, messages, context):
        yield from (b"you said " + message for message in messages)


def calls(channel):
    told = {}
    large = b"x" * 1_000_000
    echo = channel.unary_unary("/test/Echo")
    answer, call = echo.with_call(large, timeout=PATIENCE, metadata=(("x-asked", "this"),))
    told["echo"] = [answer == large, dict(call.trailing_metadata()).get("x-saw"), call.code().name]
    try:
        channel.unary_unary("/test/Refuse")(b"", timeout=PATIENCE)
    except grpc.RpcError as error:
        told["refuse"] = [error.code().name, error.details()]
    try:
        channel.unary_unary("/test/Unheard-of")(b"", timeout=PATIENCE)
    except grpc.RpcError as error:
        told["unheard-of"] = error.code().name
    told["count"] = [message.decode() for message in channel.unary_stream("/test/Count")(b"4", timeout=PATIENCE)]
    told["sum"] = channel.stream_unary("/test/Sum")(iter([b"1", b"2", b"39"]), timeout=PATIENCE).decode()
    # Nothing is said before what was said has been answered.
    said, chat = queue.Queue(), []
    answers = channel.stream_stream("/test/Chat")(iter(said.get, None), timeout=PATIENCE)
    for message in [b"hello", b"goodbye"]:
        said.put(message)
        chat.append(next(answers).decode())
    said.put(None)
    told["chat"] = chat + [message.decode() for message in answers]
    return told


def main():
    parser = argparse.ArgumentParser()
    for option in ["--connect", "--ca", "--host"]:
        parser.add_argument(option, required=True)
    asked = parser.parse_args()
    server = grpc.server(futures.ThreadPoolExecutor(), handlers=(Origin(),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([certificate(asked.host)]))
    server.start()
    print(port, flush=True)
    sys.stdin.readline()
    with open(asked.ca, "rb") as file:
        trusts = grpc.ssl_channel_credentials(file.read())
    # The name that is asked for, and that the certificate must have, is not the address.
    options = (("grpc.ssl_target_name_override", asked.host), ("grpc.default_authority", asked.host))
    with grpc.secure_channel(asked.connect, trusts, options) as channel:
        print(json.dumps(calls(channel)), flush=True)
    server.stop(None)


main()
