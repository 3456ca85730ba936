/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the users of an NVMe controller's VFs get of one image: bench-vfs.
 *
 * One process: a machine with a PF and 64 VFs on a file that is in the page cache
 * (uvfio/machine.h), and a driver for each VF over a connection of its own (uvfio/driver.h), all in
 * one thread that goes round them.  The same number of 4 KiB random reads is done by 1, by 8 and by
 * all of them, in turns: the sum must not fall, and nobody get less
 * than half of an equal share.  Each VF in use has 32 reads in flight.  Beside them stand the bare
 * messages, entries and copies of as many users (vfs_bare.h): what of a fall is the machine's.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <uvfio/machine.h>

#include "bench.h"
#include "nvme_ctrl.h"
#include "vfs_bare.h"

#define ROUNDS 7
#define VFS    64u
#define DEPTH  32u /* reads in flight, of each */
#define BATCH  16u /* submitted by one doorbell */
#define IOS    400000u
#define IMAGE  (256u << 20)

struct user {
	struct nvme_ctrl nvme;
	uint64_t seed;
	unsigned done, waiting;
};

struct world {
	struct user users[VFS];
};

struct run {
	struct world *w;
	unsigned users;
	double least[ROUNDS]; /* of what an equal share is */
	unsigned round;
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench-vfs: %s\n", what);
	exit(1);
}

static void submit(struct user *u, unsigned slot)
{
	uint64_t blocks = NVME_PAGE / u->nvme.block_size;

	nvme_queue_rw(&u->nvme.io[0], NVME_READ, slot,
		      bench_random(&u->seed) % (u->nvme.blocks / blocks) * blocks, NVME_PAGE);
}

/* Take what has completed; submit as much again unless @stop.  How many. */
static unsigned turn(struct user *u, bool stop)
{
	struct nvme_queue *q = &u->nvme.io[0];
	unsigned reaped = 0, slot, status;

	while (nvme_reap(q, &slot, &status)) {
		if (status)
			die("a read failed");
		reaped++;
		if (!stop)
			submit(u, slot);
	}
	u->waiting += reaped;
	u->done += reaped;
	if (u->waiting >= BATCH || (stop && u->waiting)) {
		u->waiting = 0;
		nvme_reaped(q);
		if (!stop)
			nvme_ring(q);
	}
	return reaped;
}

/* Thousands a second, of all. */
static double reads(void *arg)
{
	struct run *r = arg;
	unsigned in_flight = DEPTH * r->users, done = 0, least = IOS;
	uint64_t start = bench_ns(), ns;

	for (unsigned i = 0; i < r->users; i++) {
		struct user *u = &r->w->users[i];

		u->done = u->waiting = 0;
		for (unsigned slot = 0; slot < DEPTH; slot++)
			submit(u, slot);
		nvme_ring(&u->nvme.io[0]);
	}
	while (done < IOS)
		for (unsigned i = 0; i < r->users; i++)
			done += turn(&r->w->users[i], false);
	ns = bench_ns() - start;
	for (unsigned i = 0; i < r->users; i++)
		if (r->w->users[i].done < least)
			least = r->w->users[i].done;
	r->least[r->round++ % ROUNDS] = (double)least * r->users / done;
	/* What was put into a queue without a doorbell yet. */
	for (unsigned i = 0; i < r->users; i++)
		nvme_ring(&r->w->users[i].nvme.io[0]);
	for (start = bench_ns(); in_flight;) {
		for (unsigned i = 0; i < r->users; i++)
			in_flight -= turn(&r->w->users[i], true);
		if (bench_ns() - start > 10000000000u)
			die("a read does not complete");
	}
	return done * 1e6 / (double)ns;
}

struct bare_run {
	struct bare **bare;
	unsigned users;
};

static double bare(void *arg)
{
	const struct bare_run *r = arg;

	return bare_reads(*r->bare, r->users, IOS);
}

static void make_image(char *path)
{
	char *buf = malloc(1 << 20);
	int fd = mkstemp(path);

	if (fd < 0 || !buf)
		die("no file in /tmp");
	memset(buf, 0x5a, 1 << 20);
	for (unsigned i = 0; i < IMAGE >> 20; i++)
		if (write(fd, buf, 1 << 20) != 1 << 20)
			die("cannot write the image");
	close(fd);
	free(buf);
}

static struct uvfio_machine *make_machine(const char *image)
{
	struct uvfio_machine *m;
	struct uvfio_error err;
	char device[200];

	snprintf(device, sizeof(device),
		 "nvme,file=%s,vfs=%u,numvfs=%u,addr=0000:01:00.0,driver=nvme", image, VFS, VFS);
	if (uvfio_machine_new(NULL, &m, &err) || uvfio_machine_add(m, device, NULL, &err))
		die(err.msg);
	return m;
}

/* VF @i answers at the PF's address and i + 1 functions. */
static void open_vf(struct uvfio_machine *m, struct user *u, unsigned i)
{
	const struct nvme_config config = {.queues = 1, .slots = DEPTH, .slot_size = NVME_PAGE};
	char name[UVFIO_MACHINE_NAME], device[20];
	struct uvfio_error err;
	int fd;

	snprintf(name, sizeof(name), "0000:01:%02x.%u", (i + 1) / 8, (i + 1) % 8);
	fd = uvfio_machine_connect(m, name, &err);
	if (fd < 0)
		die(err.msg);
	snprintf(device, sizeof(device), "fd:%d", fd);
	if (nvme_open(&u->nvme, device, &config))
		die("cannot open a VF");
	u->seed = i + 1;
}

static int judge(struct run *runs, struct bench_case *sums)
{
	struct bench_case rows[] = {
		{"8 VFs, the sum, of what one gets", "", NULL, NULL, BENCH_AT_LEAST, 0.95},
		{"64 VFs, the sum, of what one gets", "", NULL, NULL, BENCH_AT_LEAST, 0.95},
		{"8 VFs, the least of an equal share", "", NULL, NULL, BENCH_AT_LEAST, 0.5},
		{"64 VFs, the least of an equal share", "", NULL, NULL, BENCH_AT_LEAST, 0.5},
	};
	int missed = 0;

	rows[0].median = sums[1].median / sums[0].median;
	rows[1].median = sums[2].median / sums[0].median;
	rows[2].median = bench_median(runs[1].least, ROUNDS);
	rows[3].median = bench_median(runs[2].least, ROUNDS);
	for (unsigned i = 0; i < 4; i++)
		missed += bench_print(&rows[i]);
	return missed;
}

int main(int argc, char **argv)
{
	static struct world w;
	struct run runs[] = {{&w, 1}, {&w, 8}, {&w, VFS}};
	static struct bare *b;
	struct bare_run bares[] = {{&b, 1}, {&b, 8}, {&b, VFS}};
	struct bench_case sums[] = {
		{"4 KiB random reads, 1 VF", "k/s", reads, &runs[0]},
		{"8 VFs, the sum", "k/s", reads, &runs[1]},
		{"64 VFs, the sum", "k/s", reads, &runs[2]},
		{"bare: messages, entries and copies of 1 user", "k/s", bare, &bares[0]},
		{"bare: of 8", "k/s", bare, &bares[1]},
		{"bare: of 64", "k/s", bare, &bares[2]},
	};
	char image[] = "/tmp/bench-vfs-XXXXXX";
	struct uvfio_machine *m;
	int missed;

	make_image(image);
	m = make_machine(image);
	for (unsigned i = 0; i < VFS; i++)
		open_vf(m, &w.users[i], i);
	if (argc > 1) { /* for strace and perf: so many VFs, once */
		runs[0].users = (unsigned)atoi(argv[1]);
		if (!runs[0].users || runs[0].users > VFS)
			die("usage: bench-vfs [VFs]");
		sums[0].what = "4 KiB random reads";
		bench_run("VFs of one NVMe controller on one image", sums, 1, 3);
		exit(0);
	}
	b = bare_new(image, IMAGE, VFS, DEPTH, BATCH);
	missed = bench_run("VFs of one NVMe controller on one image", sums, 6, ROUNDS);
	bare_free(b);
	missed += judge(runs, sums);
	for (unsigned i = 0; i < VFS; i++)
		nvme_close(&w.users[i].nvme);
	uvfio_machine_free(m);
	unlink(image);
	return missed ? 1 : 0;
}
