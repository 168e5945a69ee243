"""The ACL token's way to the Consul servers: a file, never the bootstrap.

Envoy reads the file for each stream and adds the token to it. So a new token goes into
effect when the file is replaced, without a restart; it is part of no configuration,
which Envoy shows and logs; and Envoy watches nothing for it: each watched file would be
one of the few inotify instances that the kernel grants a user.
"""

from pathlib import Path

from consul_ebpf.envoy.parts import Part, extension, secret

SECRET = "consul-token"  # noqa: S105  # a name: the filter's, and the secret's in the file
HEADER = "x-consul-token"
"""Where Consul looks for the token."""

# Without a usable token the stream ends here: Envoy tries again after its back-off, and
# nothing goes to a server in nobody's name. The secret is one JSON string at the end of
# a line; only `"` and `\` are written as escapes in the text that a header may hold.
_SCRIPT = r"""
local PATH = @PATH@
local function token()
  local file = io.open(PATH, "rb")
  if not file then return nil end
  local text = file:read(65536) or ""
  file:close()
  local quoted = text:match('"inline_string": "([^\n]*)"\n') or ""
  local plain = quoted:gsub('\\(.)', function(escaped)
    return (escaped == '"' or escaped == '\\') and escaped or '\0'
  end)
  return plain:match("^[\32-\126]+$")
end
function envoy_on_request(handle)
  local found = token()
  if found then
    handle:headers():replace("@HEADER@", found)
  else
    handle:logWarn("no usable token in " .. PATH)
    handle:respond({[":status"] = "401"}, "")
  end
end
""".lstrip()


def token_secret(token: str) -> Part:
    """Return what the token file holds.

    It has the form of a discovery response: an Envoy that was started by an earlier
    version takes its token from the same file by SDS.
    """
    return secret(SECRET, generic_secret={"secret": {"inline_string": token}})


def token_filters(token_file: Path) -> list[Part]:
    """Return the cluster's filters: one adds the token, the other is Envoy's own."""
    return [
        extension(
            SECRET,
            "extensions.filters.http.lua.v3.Lua",
            default_source_code={"inline_string": token_script(token_file)},
        ),
        extension(
            "envoy.filters.http.upstream_codec",
            "extensions.filters.http.upstream_codec.v3.UpstreamCodec",
        ),
    ]


def token_script(token_file: Path) -> str:
    """Return the Lua script that adds the token in `token_file` to each stream."""
    path = _lua_string(str(token_file))
    return _SCRIPT.replace("@HEADER@", HEADER).replace("@PATH@", path)


def _lua_string(text: str) -> str:
    """Write `text` as a Lua string: a byte that could end it goes by its number."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\')
    return '"{}"'.format(
        "".join(
            chr(byte) if byte in plain else f"\\{byte:03d}" for byte in text.encode()
        )
    )
