#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A model of the user's own: the template of examples/device-template, built against what `meson
# install` installs and nothing else, in a run, on a served machine, and what is said of bad ones.
# args: uvfio build-folder source-folder
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
build=$2
source=$3
need meson meson
need pkg-config pkg-config

case $(ldd "$UVFIO" 2>/dev/null) in
*libasan* | *libtsan*) skip_all "uvfio has a sanitizer, which the template's driver would have to load before the helper" ;;
esac

root=$work/root
if ! said=$(cd "$work" && meson install -C "$build" --no-rebuild --destdir "$root" 2>&1); then
	fail "install" "$said"
	finish
fi
pass "install"
pc=$(find "$root" -name uvfio.pc)
lib=$(dirname "$(find "$root" -name libuvfio.so)")
export PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$root LD_LIBRARY_PATH=$lib
cp -r "$source/examples/device-template" "$work/template"
if ! said=$(cd "$work/template" && { meson setup build --fatal-meson-warnings -Dwerror=true && meson compile -C build; } 2>&1); then
	fail "the template builds" "$said"
	finish
fi
pass "the template builds"
is "its unit test passes" "mydev does what it should" "$("$work/template/build/mydev-test" 2>"$work/log" || cat "$work/log")"
if (cd "$work/template" && meson setup asan -Db_sanitize=address,undefined -Db_lundef=false && meson compile -C asan) >"$work/log" 2>&1; then
	is "and with sanitizers" "mydev does what it should" "$("$work/template/asan/mydev-test" 2>"$work/log" || cat "$work/log")"
else
	skip "its unit test with sanitizers" "this compiler cannot build it: $(tail -1 "$work/log")"
fi
# The pages show what is in it.
if said=$(python3 - "$source/docs/machine.md" "$source/examples/device-template/test.c" 2>&1 <<'END'
import re, sys
page, test = (open(name, encoding="utf-8").read() for name in sys.argv[1:])
blocks = re.findall(r"^```c\n(.*?)^```$", page, re.M | re.S)
sys.exit(0 if blocks and all(block in test for block in blocks) else f"not in test.c: {blocks}")
END
); then pass "docs/machine.md shows its unit test"; else fail "docs/machine.md shows its unit test" "$said"; fi
model=$work/template/build/mydev.so
driver=$work/template/build/mydev-driver

# What the page on writing a device shows is in it, word by word.
if said=$(python3 - "$source" 2>&1 <<'END'
import re, sys
source = sys.argv[1]
page = open(f"{source}/docs/writing-a-device.md", encoding="utf-8").read()
files = [open(f"{source}/examples/device-template/{name}", encoding="utf-8").read()
         for name in ("mydev.h", "mydev.c", "driver.c", "test.c", "meson.build")]
blocks = re.findall(r"^```(?:c|meson)\n(.*?)^```$", page, re.M | re.S)
if len(blocks) < 8:
    sys.exit(f"only {len(blocks)} blocks of code")
for block in blocks:
    if not any(block in text for text in files):
        sys.exit(f"not in the template:\n{block}")
END
); then pass "the page shows the template"; else fail "the page shows the template" "$said"; fi

# ---- in a run ----

said=$("$UVFIO" run --device "$model" -- "$driver" 0000:01:00.0 2>&1)
is "in a run" "1024 words times 2" "$said"
said=$(cd "$work/template/build" && "$UVFIO" run --device ./mydev.so,factor=7 -- "$driver" 0000:01:00.0 2>&1)
is "a relative path, and a key" "1024 words times 7" "$said"
said=$("$UVFIO" run --device nvme,memory=1M --device "$model",factor=3 --device "$model",factor=5 -- \
	"$driver" 0000:03:00.0 2>&1)
is "twice, beside a built-in one" "1024 words times 5" "$said"
matches "its keys are shown" "mydev: *factor=N *" "$("$UVFIO" models "$model" 2>&1)"
matches "a wrong key is told" "*device mydev has no key 'colour'*factor*" \
	"$("$UVFIO" run --device "$model",colour=red -- true 2>&1)"
matches "a wrong value is told" "*factor*" \
	"$("$UVFIO" run --device "$model",factor=0 -- true 2>&1)"
echo "{\"device\": [\"$model,factor=9\"]}" >"$work/run.json"
said=$("$UVFIO" run --config "$work/run.json" -- "$driver" 0000:01:00.0 2>&1)
is "from a configuration file" "1024 words times 9" "$said"

# ---- on a served machine ----

cflags=$(pkg-config --cflags uvfio)
object() { # NAME TEXT: a shared object
	# shellcheck disable=SC2086
	printf '#include <fcntl.h>\n#include <uvfio/device.h>\n%s\n' "$2" | "${CC:-cc}" -shared -fPIC $cflags -x c -o "$work/$1.so" -
}
# A model that says what is in the file that its key names.
object reader '#include <unistd.h>
static const struct uvfio_key keys[] = {{"file", "PATH", "to be read"}};
static int c(struct uvfio_device *d, const struct uvfio_args *a, void **p, struct uvfio_error *e)
{
	struct uvfio_area area = {0, 4096, UVFIO_AREA_MEMORY, 0};
	struct uvfio_pci_desc desc = {.vendor = 1, .device = 1, .bars = {{4096, 0, &area, 1}}};
	const char *path = uvfio_arg(a, "file");
	char text[100] = "";
	int fd = path ? uvfio_open(d, path, O_RDWR) : -1;
	if (!path)
		return uvfio_device_init(d, &desc, e);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		return uvfio_error_set(e, -5, "not read");
	return uvfio_error_set(e, -5, "read: %s", text);
}
static void d(void *p) {} static bool w(void *p) { return false; }
static void q(void *p) {} static void r(void *p, enum uvfio_reset_kind k) {}
static void rw(void *p, unsigned b, uint64_t o, unsigned s, uint64_t v) {}
UVFIO_EXPORT_MODEL = {.abi = UVFIO_DEVICE_ABI, .name = "reader", .keys = keys, .nr_keys = 1,
	.create = c, .destroy = d, .reg_write = rw, .work = w, .quiesce = q, .reset = r};'
echo "{\"device\": [{\"model\": \"$model\", \"factor\": \"4\", \"socket\": \"$work/socket\"},
	{\"model\": \"$work/reader.so\", \"socket\": \"$work/reader\"}]}" >"$work/serve.json"
"$UVFIO" serve --config "$work/serve.json" --control "$work/control" 2>"$work/serve.log" &
server=$!
while [ ! -S "$work/socket" ] && kill -0 $server 2>/dev/null; do sleep 0.05; done
said=$("$driver" "unix:$work/socket" 2>&1)
is "through vfio-user, confined" "1024 words times 4" "$said"
said=$("$UVFIO" add --control "$work/control" "mydev,factor=6,socket=$work/more" 2>&1) || fail "add" "$said"
is "a loaded one can be added by its name" "1024 words times 6" "$("$driver" "unix:$work/more" 2>&1)"
matches "a file that its key names is opened by who adds" "*not there: cannot open it*" \
	"$("$UVFIO" add --control "$work/control" "reader,file=not there,socket=$work/no" 2>&1)"
echo "what the file says" >"$work/data"
matches "and handed to a server that can open nothing" "*read: what the file says*" \
	"$("$UVFIO" add --control "$work/control" "reader,file=$work/data,socket=$work/no" 2>&1)"
matches "another cannot be loaded any more" "*cannot be loaded any more*" \
	"$("$UVFIO" add --control "$work/control" "./other.so,socket=$work/no" 2>&1)"
kill $server
wait $server

# ---- in somebody's process ----

"$build/examples/host" "$work/host-control" "$model,factor=8,socket=$work/in-host" >/dev/null 2>"$work/host.log" &
host=$!
while [ ! -S "$work/in-host" ] && kill -0 $host 2>/dev/null; do sleep 0.05; done
is "a program loads it into its own machine" "1024 words times 8" "$("$driver" "unix:$work/in-host" 2>&1)"
kill $host
wait $host

# ---- bad ones ----

refused() { # NAME PATTERN OBJECT
	local said status
	said=$("$UVFIO" run --device "$3" -- echo "it ran" 2>&1)
	status=$?
	if [ $status = 2 ]; then matches "$1" "$2" "$said"; else fail "$1" "status $status: $said"; fi
}
functions='static int c(struct uvfio_device *d, const struct uvfio_args *a, void **p, struct uvfio_error *e)
{ return uvfio_error_set(e, -5, "the moon is in the wrong place"); }
static void d(void *p) {} static bool w(void *p) { return false; } static void q(void *p) {}
static void r(void *p, enum uvfio_reset_kind k) {}
static void rw(void *p, unsigned b, uint64_t o, unsigned s, uint64_t v) {}'
all='.create = c, .destroy = d, .reg_write = rw, .work = w, .quiesce = q, .reset = r'
object plain 'int x;'
object abi 'UVFIO_EXPORT_MODEL = {.abi = 1, .name = "old"};'
object empty 'UVFIO_EXPORT_MODEL = {.abi = UVFIO_DEVICE_ABI, .name = "empty"};'
object name "$functions
UVFIO_EXPORT_MODEL = {.abi = UVFIO_DEVICE_ABI, .name = \"a,b\", $all};"
object nvme "$functions
UVFIO_EXPORT_MODEL = {.abi = UVFIO_DEVICE_ABI, .name = \"nvme\", $all};"
object fails "$functions
UVFIO_EXPORT_MODEL = {.abi = UVFIO_DEVICE_ABI, .name = \"fails\", $all};"
object lacks 'extern void uvfio_no_such_function(void);
static void d(void *p) { uvfio_no_such_function(); }
UVFIO_EXPORT_MODEL = {.abi = UVFIO_DEVICE_ABI, .name = "lacks", .destroy = d};'
echo text >"$work/text.so"
refused "not there" "*cannot load the model $work/none.so: *No such file*" "$work/none.so"
refused "no shared object" "*cannot load the model $work/text.so: *" "$work/text.so"
refused "no symbol" "*$work/plain.so has no symbol uvfio_model*UVFIO_EXPORT_MODEL*" "$work/plain.so"
refused "another ABI" "*$work/abi.so was built for version 1 *build it again*" "$work/abi.so"
refused "a function is missing" "*$work/empty.so: the model empty has no create*" "$work/empty.so"
refused "what nobody has is called" "*undefined symbol: uvfio_no_such_function*" "$work/lacks.so"
refused "a name that cannot be" "*$work/name.so: its model's name must be*" "$work/name.so"
refused "a built-in one's name" "*$work/nvme.so: its model is called nvme, as a built-in one*" "$work/nvme.so"
matches "a device that cannot be made" "*the moon is in the wrong place*" \
	"$("$UVFIO" run --device "$work/fails.so" -- echo "it ran" 2>&1)"
finish
