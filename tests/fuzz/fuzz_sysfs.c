/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile program that has joined a machine: the input is a program of FUSE requests, right and
 * wrong, sent over a socket to the tree in /sys of a machine with two test devices, one of which
 * uio_pci_generic has.  Each input has a machine of its own.
 *
 * What must hold: a request is answered once, or ends the connection, and nothing is answered that
 * was not asked; answers have their form; one who waits does not keep the door from ending; and no
 * descriptor is left open.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse_log.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/pcitest/pcitest_model.h"
#include "input.h"
#include "sysfs/check.h"
#include "sysfs/sysfs.h"

#define NODES    16u
#define HANDLES  8u
#define REQUESTS 512u   /* of an input, the harness's own included */
#define HANG_MS  20000  /* after which a wait for the door counts as a hang */
#define ANSWER   131072 /* bytes */

/* What the bytes of an input choose from; make_seeds.py knows the order of the paths. */
static const char *const paths[] = {
	"devices/0000:01:00.0",
	"devices/0000:02:00.0",
	"devices/0000:01:00.0/config",
	"devices/0000:01:00.0/driver_override",
	"devices/0000:01:00.0/reset",
	"devices/0000:01:00.0/reset_method",
	"devices/0000:01:00.0/remove",
	"devices/0000:01:00.0/rescan",
	"devices/0000:01:00.0/enable",
	"devices/0000:01:00.0/rom",
	"devices/0000:01:00.0/resource",
	"devices/0000:01:00.0/resource0",
	"devices/0000:01:00.0/resource2",
	"devices/0000:01:00.0/power",
	"devices/0000:01:00.0/driver",
	"devices/0000:02:00.0/config",
	"devices/0000:02:00.0/uio",
	"devices/0000:02:00.0/remove",
	"bus/pci/drivers_probe",
	"bus/pci/drivers_autoprobe",
	"bus/pci/rescan",
	"bus/pci/devices",
	"bus/pci/slots",
	"bus/pci/drivers/vfio-pci/bind",
	"bus/pci/drivers/vfio-pci/unbind",
	"bus/pci/drivers/vfio-pci/new_id",
	"bus/pci/drivers/vfio-pci/remove_id",
	"bus/pci/drivers/uio_pci_generic/bind",
	"bus/pci/drivers/uio_pci_generic/unbind",
	"bus/pci/drivers/uio_pci_generic/new_id",
	"kernel/iommu_groups",
	"kernel/iommu_groups/1/type",
	"module/vfio_pci/parameters",
	"class/uio",
	"uvfio/uio0",
	"uvfio",
	"devices/0000:01:00.0/vendor",
	"devices/0000:01:00.0/class",
	"devices/0000:01:00.0/modalias",
	"devices/0000:01:00.0/uevent",
	"devices/0000:01:00.0/irq",
	"devices/0000:01:00.0/numa_node",
	"devices/0000:01:00.0/broken_parity_status",
	"devices/0000:01:00.0/local_cpus",
	"devices/0000:01:00.0/power_state",
	"devices/0000:01:00.0/power/control",
	"devices/0000:01:00.0/current_link_speed",
	"devices/0000:01:00.0/iommu_group",
};
static const char *const words[] = {
	"0000:01:00.0",
	"0000:02:00.0",
	"0000:01:00.0\n",
	"vfio-pci",
	"uio_pci_generic",
	"1",
	"0",
	"flr bus pm\n",
	"default",
	"1234 5054",
	"\n",
	"-1",
	"D3hot",
	"ffffffffffff0",
	"1\n",
	"identity",
};
static const uint16_t opcodes[] = {
	FUSE_LOOKUP,  FUSE_FORGET,  FUSE_GETATTR,   FUSE_SETATTR,      FUSE_READLINK,
	FUSE_SYMLINK, FUSE_MKNOD,   FUSE_MKDIR,     FUSE_UNLINK,       FUSE_RENAME,
	FUSE_RENAME2, FUSE_LINK,    FUSE_CREATE,    FUSE_OPEN,         FUSE_READ,
	FUSE_WRITE,   FUSE_STATFS,  FUSE_RELEASE,   FUSE_FSYNC,        FUSE_FLUSH,
	FUSE_INIT,    FUSE_OPENDIR, FUSE_READDIR,   FUSE_READDIRPLUS,  FUSE_RELEASEDIR,
	FUSE_ACCESS,  FUSE_POLL,    FUSE_INTERRUPT, FUSE_BATCH_FORGET, FUSE_GETXATTR,
	FUSE_IOCTL,   FUSE_LSEEK,   FUSE_FALLOCATE, FUSE_DESTROY,      FUSE_SETUPMAPPING,
};

struct client {
	struct input in;
	int sock;
	bool ended;
	unsigned nr; /* requests made; their numbers are from 1 on */
	bool answered[REQUESTS + 1];
	uint64_t nodes[NODES], handles[HANDLES];
	unsigned nr_nodes, nr_handles;
	uint8_t *answer;
	int error; /* of the last answer */
	size_t len;
};

static void quiet(enum fuse_log_level level, const char *fmt, va_list ap)
{
}

/* ---- messages ---- */

/* Send a request; its number, or 0. */
static uint64_t tell(struct client *c, uint32_t opcode, uint64_t node, const void *body, size_t len)
{
	struct fuse_in_header head = {
		.len = (uint32_t)(sizeof(head) + len),
		.opcode = opcode,
		.nodeid = node,
	};
	uint8_t *request;
	ssize_t n;

	if (c->ended || c->nr == REQUESTS)
		return 0;
	head.unique = ++c->nr;
	/* Exactly so long, so that a sanitizer sees a read behind it. */
	request = malloc(head.len);
	CHECK(request);
	memcpy(request, &head, sizeof(head));
	if (len)
		memcpy(request + sizeof(head), body, len);
	(void)sysfs_request_ok(request, head.len);
	n = TEMP_FAILURE_RETRY(send(c->sock, request, head.len, MSG_NOSIGNAL));
	free(request);
	if (n < 0) {
		CHECK(errno == EPIPE || errno == ECONNRESET);
		c->ended = true;
		return 0;
	}
	return head.unique;
}

/* One answer: its number; 0: a notification, or the end. */
static uint64_t hear(struct client *c)
{
	struct pollfd pfd = {.fd = c->sock, .events = POLLIN};
	struct fuse_out_header head;
	ssize_t n;

	/* libFuzzer has an alarm. */
	CHECK(TEMP_FAILURE_RETRY(poll(&pfd, 1, HANG_MS)) == 1);
	n = TEMP_FAILURE_RETRY(recv(c->sock, c->answer, ANSWER, 0));
	if (n <= 0) {
		c->ended = true;
		return 0;
	}
	CHECK((size_t)n >= sizeof(head));
	memcpy(&head, c->answer, sizeof(head));
	CHECK(head.len == (size_t)n);
	if (!head.unique) {
		CHECK(head.error > 0);
		return 0;
	}
	CHECK(head.unique <= c->nr && !c->answered[head.unique]);
	CHECK(head.error <= 0 && head.error > -1000);
	CHECK(!head.error || head.len == sizeof(head));
	c->answered[head.unique] = true;
	c->error = head.error;
	c->len = (size_t)n - sizeof(head);
	return head.unique;
}

/* Until @unique is answered: false when the connection has ended first. */
static bool await(struct client *c, uint64_t unique)
{
	while (unique && !c->ended)
		if (hear(c) == unique)
			return true;
	return false;
}

/* Ask, and wait for the answer: is it one without an error? */
static bool ask(struct client *c, uint32_t opcode, uint64_t node, const void *body, size_t len)
{
	return await(c, tell(c, opcode, node, body, len)) && !c->error;
}

/* Everything before is read by the door, if not answered. */
static void catch_up(struct client *c)
{
	struct fuse_getattr_in attr = {0};

	ask(c, FUSE_GETATTR, FUSE_ROOT_ID, &attr, sizeof(attr));
}

/* ---- what an input does ---- */

static uint64_t any_node(struct client *c)
{
	uint8_t which = (uint8_t)take(&c->in, 1);

	if (which == 0xff)
		return take(&c->in, 8);
	if (which == 0xfe && c->nr_nodes) /* nearly right */
		return c->nodes[(c->nr_nodes - 1) % NODES] + take(&c->in, 4) - 0x8000;
	return c->nr_nodes ? c->nodes[(c->nr_nodes - 1 - which % NODES) % NODES] : FUSE_ROOT_ID;
}

static uint64_t any_handle(struct client *c)
{
	uint8_t which = (uint8_t)take(&c->in, 1);

	if (which == 0xff)
		return take(&c->in, 8);
	if (!c->nr_handles)
		return 0;
	return c->handles[(c->nr_handles - 1 - which % HANDLES) % HANDLES];
}

static uint64_t any_offset(struct client *c)
{
	uint8_t how = (uint8_t)take(&c->in, 1);

	return how == 0xff ? take(&c->in, 8) : how == 0xfe ? -take(&c->in, 2) : how * 4;
}

static void found(struct client *c)
{
	struct fuse_entry_out entry;

	CHECK(c->len >= FUSE_COMPAT_ENTRY_OUT_SIZE && c->len <= sizeof(entry));
	memcpy(&entry, c->answer + sizeof(struct fuse_out_header), c->len);
	c->nodes[c->nr_nodes++ % NODES] = entry.nodeid;
}

static void walk(struct client *c, const char *path)
{
	uint64_t node = FUSE_ROOT_ID;
	char name[64];

	for (;;) {
		size_t n = strcspn(path, "/");

		snprintf(name, sizeof(name), "%.*s", (int)n, path);
		if (!ask(c, FUSE_LOOKUP, node, name, n + 1))
			return;
		found(c);
		node = c->nodes[(c->nr_nodes - 1) % NODES];
		if (!path[n])
			return;
		path += n + 1;
	}
}

static void open_node(struct client *c)
{
	struct fuse_open_in open = {.flags = (uint32_t)take(&c->in, 1) & 3};
	struct fuse_open_out opened;

	if (!ask(c, FUSE_OPEN, any_node(c), &open, sizeof(open)))
		return;
	CHECK(c->len >= FUSE_COMPAT_22_INIT_OUT_SIZE - 8 && c->len <= sizeof(opened));
	memset(&opened, 0, sizeof(opened));
	memcpy(&opened, c->answer + sizeof(struct fuse_out_header), c->len);
	c->handles[c->nr_handles++ % HANDLES] = opened.fh;
}

/* Of a uio file it may never be answered. */
static void read_node(struct client *c, uint32_t opcode)
{
	struct fuse_read_in read = {.fh = any_handle(c)};
	uint8_t size;

	read.offset = any_offset(c);
	size = (uint8_t)take(&c->in, 1);
	read.size = size == 0xff ? (uint32_t)take(&c->in, 4) : size == 0xfe ? 65536 : size;
	tell(c, opcode, any_node(c), &read, sizeof(read));
	catch_up(c);
}

static void write_node(struct client *c)
{
	struct {
		struct fuse_write_in in;
		uint8_t data[256];
	} w = {{.fh = any_handle(c)}, {0}};
	uint64_t node;
	uint8_t what;
	size_t n;

	w.in.offset = any_offset(c);
	what = (uint8_t)take(&c->in, 1);
	node = any_node(c);
	if (what & 0x80) {
		n = what & 0x7f;
		for (size_t i = 0; i < n; i++)
			w.data[i] = (uint8_t)take(&c->in, 1);
	} else {
		const char *word = words[what % (sizeof(words) / sizeof(words[0]))];

		n = strlen(word);
		memcpy(w.data, word, n);
	}
	w.in.size = (uint32_t)n;
	ask(c, FUSE_WRITE, node, &w, sizeof(w.in) + n);
}

static void set_attributes(struct client *c)
{
	struct fuse_setattr_in attr = {.valid = (uint32_t)take(&c->in, 2)};

	attr.mode = (uint32_t)take(&c->in, 2);
	attr.uid = (uint32_t)take(&c->in, 1);
	attr.gid = (uint32_t)take(&c->in, 1);
	attr.size = any_offset(c);
	ask(c, FUSE_SETATTR, any_node(c), &attr, sizeof(attr));
}

static void poll_node(struct client *c)
{
	struct fuse_poll_in poll = {.fh = any_handle(c)};

	poll.kh = take(&c->in, 1);
	poll.flags = (uint32_t)take(&c->in, 1);
	ask(c, FUSE_POLL, any_node(c), &poll, sizeof(poll));
}

static void release(struct client *c)
{
	struct fuse_release_in release = {.fh = any_handle(c)};

	ask(c, FUSE_RELEASE, any_node(c), &release, sizeof(release));
}

static void interrupt(struct client *c)
{
	struct fuse_interrupt_in in = {.unique = c->nr - take(&c->in, 1)};

	tell(c, FUSE_INTERRUPT, 0, &in, sizeof(in));
	catch_up(c);
}

static void anything(struct client *c)
{
	uint32_t opcode = opcodes[take(&c->in, 1) % (sizeof(opcodes) / sizeof(opcodes[0]))];
	uint64_t node = any_node(c);
	size_t n = take(&c->in, 1);
	uint8_t body[256];

	for (size_t i = 0; i < n; i++)
		body[i] = (uint8_t)take(&c->in, 1);
	tell(c, opcode, node, body, n);
	catch_up(c);
}

static void play(struct client *c)
{
	struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION,
				    .minor = FUSE_KERNEL_MINOR_VERSION};

	if (take(&c->in, 1) != 0xff)
		ask(c, FUSE_INIT, 0, &init, sizeof(init));
	while (c->in.left && !c->ended && c->nr < REQUESTS) {
		switch (take(&c->in, 1) % 16) {
		case 0:
		case 1:
		case 2:
			walk(c, paths[take(&c->in, 1) % (sizeof(paths) / sizeof(paths[0]))]);
			break;
		case 3:
		case 4:
			open_node(c);
			break;
		case 5:
		case 6:
			read_node(c, FUSE_READ);
			break;
		case 7:
			read_node(c, FUSE_READDIR);
			break;
		case 8:
		case 9:
			write_node(c);
			break;
		case 10:
			set_attributes(c);
			break;
		case 11:
			poll_node(c);
			break;
		case 12:
			release(c);
			break;
		case 13:
			interrupt(c);
			break;
		case 14:
			ask(c, FUSE_READLINK, any_node(c), NULL, 0);
			break;
		default:
			anything(c);
		}
	}
}

/* ---- an input ---- */

static void run(struct client *c)
{
	struct sysfs_config config = {0};
	struct vfio_machine *machine;
	struct vfio_policy policy;
	struct uvfio_error err;
	struct sysfs *fs;
	int pair[2];

	vfio_policy_default(&policy);
	machine = vfio_machine_new(&policy, NULL, &err);
	CHECK(machine && !vfio_machine_add_model(machine, &pcitest_model));
	CHECK(!vfio_machine_add_device(machine, "pcitest", &err));
	CHECK(!vfio_machine_add_device(machine, "pcitest,driver=uio_pci_generic", &err));
	config.machine = machine;
	fs = sysfs_new(&config, &err);
	CHECK(fs && !socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	CHECK(!sysfs_serve(fs, pair[0], &err));
	c->sock = pair[1];
	play(c);
	sysfs_free(fs);
	close(c->sock);
	vfio_machine_free(machine);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static int before = -1;
	struct client *c = calloc(1, sizeof(*c));

	CHECK(c);
	c->in = (struct input){data, len};
	c->answer = malloc(ANSWER);
	CHECK(c->answer);
	fuse_set_log_func(quiet);
	run(c);
	free(c->answer);
	free(c);
	if (before < 0)
		before = lowest_free_fd(); /* what is opened once is open now */
	CHECK(lowest_free_fd() == before);
	return 0;
}
