"""How the ACL token gets to the Consul servers: from a file, never by the bootstrap.

Envoy reads the file for each stream and adds the token to the request. So a new token
takes effect when the file is replaced, without a restart. The token is in no
configuration, which Envoy would show and log. And Envoy watches no file for it: a
watched file takes one of the few inotify instances that the kernel grants a user.
"""

from pathlib import Path

from consul_ebpf.envoy.parts import Part, extension, secret

SECRET = "consul-token"  # noqa: S105  # a name: the filter's, and the secret's in the file
HEADER = "x-consul-token"
"""Where Consul looks for the token."""

# Without a usable token the stream ends here, so no server is asked without a token.
# Envoy tries again after its back-off. The secret is one JSON string at the end of a
# line. Of the characters that a header may hold, JSON escapes only `"` and `\`.
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

    It is a discovery response, because an Envoy that was started with an earlier
    version's bootstrap reads its token from the same file by SDS.
    """
    return secret(SECRET, generic_secret={"secret": {"inline_string": token}})


def token_filters(token_file: Path) -> list[Part]:
    """Return the cluster's filters: ours adds the token, Envoy's own ends the chain."""
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
    """Write a text as a Lua string; bytes that could end it are written as numbers."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\')
    return '"{}"'.format(
        "".join(
            chr(byte) if byte in plain else f"\\{byte:03d}" for byte in text.encode()
        )
    )
