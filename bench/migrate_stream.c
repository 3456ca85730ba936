/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a move makes of a socket: the memory of a test device, which is full, from one machine's
 * device to another's, and the same bytes by write() and read() alone.
 *
 * Two threads in both cases, of one process, with a socket pair between them.  The bare copy
 * touches the bytes at both ends once, in pieces as long as a frame: out of memory into the socket,
 * out of that into memory.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "bench.h"
#include "control/move.h"
#include "devices/pcitest/pcitest_model.h"
#include "vfio/move.h"
#include "vfio/observe.h"

#define BYTES (64u << 20)
#define SPEC  "pcitest,memory=64M"

static struct vfio_device *devs[2];
static unsigned at; /* where the device is */
static uint8_t *from, *to;

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "migrate_stream: %s: %s\n", what, why);
	exit(2);
}

static double rate(uint64_t start)
{
	return BYTES * 1000.0 / (double)(bench_ns() - start);
}

static void *receive(void *arg)
{
	struct uvfio_error err = {""};

	if (move_receive(arg, &err))
		die("the target", err.msg);
	return NULL;
}

static double move(void *arg)
{
	struct move out = {.dev = devs[at]}, in = {.dev = devs[!at]};
	struct uvfio_error err = {""};
	uint64_t start;
	pthread_t thread;
	double result;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		die("socketpair", strerror(errno));
	out.fd = fds[0];
	in.fd = fds[1];
	out.options.downtime_ns = MOVE_DOWNTIME_NS;
	if (move_init(&out, &err) || move_init(&in, &err))
		die("a stream", err.msg);
	start = bench_ns();
	pthread_create(&thread, NULL, receive, &in);
	if (move_send(&out, &err))
		die("the source", err.msg);
	pthread_join(thread, NULL);
	result = rate(start);
	if (out.progress.bytes < BYTES)
		die("the stream", "it has fewer bytes than the device");
	move_fini(&out);
	move_fini(&in);
	close(fds[0]);
	close(fds[1]);
	at = !at;
	return result;
}

static void *drain(void *arg)
{
	const int *fd = arg;

	for (size_t got = 0; got < BYTES;) {
		ssize_t n = read(*fd, to + got, BYTES - got);

		if (n <= 0)
			die("read", strerror(errno));
		got += (size_t)n;
	}
	return NULL;
}

static double bare(void *arg)
{
	uint64_t start;
	pthread_t thread;
	double result;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		die("socketpair", strerror(errno));
	start = bench_ns();
	pthread_create(&thread, NULL, drain, &fds[1]);
	for (size_t sent = 0; sent < BYTES;) {
		ssize_t n = write(fds[0], from + sent, MOVE_PAYLOAD_MAX);

		if (n <= 0)
			die("write", strerror(errno));
		sent += (size_t)n;
	}
	pthread_join(thread, NULL);
	result = rate(start);
	close(fds[0]);
	close(fds[1]);
	return result;
}

/* ---- a user that fills it ---- */

static int copy_from(struct vfio_client *client, void *dst, uint64_t uaddr, size_t len)
{
	memcpy(dst, (const void *)(uintptr_t)uaddr, len);
	return 0;
}

static int copy_to(struct vfio_client *client, uint64_t uaddr, const void *src, size_t len)
{
	memcpy((void *)(uintptr_t)uaddr, src, len);
	return 0;
}

static const struct vfio_client_ops ops = {.copy_from = copy_from, .copy_to = copy_to};

static void fill(struct vfio_machine *machine)
{
	static const char name[16] = "0000:01:00.0";
	struct vfio_client client = {.ops = &ops, .caps = VFIO_CAP_IPC_LOCK};
	struct vfio_container *container;
	struct vfio_device_file *df;
	struct vfio_group_file *gf;
	char string[VFIO_NAME_BYTES] = "";
	uint16_t command = 2;

	memcpy(string, name, sizeof(name));
	if (vfio_group_open(machine, vfio_device_group(devs[0]), &gf) ||
	    vfio_container_open(machine, &container) || vfio_group_set_container(gf, container) ||
	    vfio_container_ioctl(container, &client, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) ||
	    vfio_group_get_device(gf, &client, (uintptr_t)string, &df))
		die("opening", "the device");
	vfio_device_write(df, VFIO_REGION_OFFSET(7) + 4, &command, 2);
	if (vfio_device_write(df, VFIO_REGION_OFFSET(2), from, BYTES) != BYTES)
		die("writing", "BAR 2");
	vfio_device_release(df);
	vfio_group_release(gf);
	vfio_container_release(container);
}

int main(void)
{
	struct bench_case cases[] = {
		{"a full device of 64 MiB, moved over a socket pair", "MB/s", move, NULL,
		 BENCH_INFO, 0, 0},
		{"the same bytes, by write() and read()", "MB/s", bare, NULL, BENCH_INFO, 0, 0},
		{"the former, of the latter", "", NULL, NULL, BENCH_AT_LEAST, 0.7, 0},
	};
	struct uvfio_error err = {""};
	struct vfio_machine *machine = vfio_machine_new(NULL, NULL, &err);
	uint64_t seed = 1;

	from = malloc(BYTES);
	to = calloc(1, BYTES);
	if (!machine || !from || !to || vfio_machine_add_model(machine, &pcitest_model) ||
	    vfio_machine_add_device(machine, SPEC, &err) ||
	    vfio_machine_add_device(machine, SPEC, &err))
		die("a machine", err.msg);
	devs[0] = vfio_machine_get_device(machine, "0000:01:00.0");
	devs[1] = vfio_machine_get_device(machine, "0000:02:00.0");
	for (size_t i = 0; i < BYTES / 8; i++)
		((uint64_t *)(void *)from)[i] = bench_random(&seed);
	fill(machine);
	bench_run("Moving a device", cases, 2, 9);
	cases[2].median = cases[0].median / cases[1].median;
	return bench_print(&cases[2]);
}
