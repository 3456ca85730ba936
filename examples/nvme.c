/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An NVMe tool on uvfio/driver.h: identify, read, write, perf.  DEVICE is a PCI address (hardware
 * bound to vfio-pci, or a device of `uvfio run`) or unix:PATH (a vfio-user server).
 *
 *	uvfio run --device nvme,memory=64M -- nvme perf --random --depth 32 0000:01:00.0
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "nvme_ctrl.h"

struct settings {
	const char *device, *input, *output;
	struct nvme_config config;
	size_t bytes; /* of one command */
	uint64_t lba, blocks, pattern;
	bool has_pattern, verify, random, write;
	double seconds;
};

/* ---- data ---- */

/* What 8-byte word @word of block @lba holds in the pattern @seed. */
static uint64_t pattern_word(uint64_t seed, uint64_t lba, unsigned word)
{
	uint64_t x = (seed * 0x9e3779b97f4a7c15ull) ^ (lba << 12) ^ word;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static void fill(const struct settings *s, unsigned block_size, uint64_t lba, uint64_t *data,
		 size_t bytes)
{
	unsigned words = block_size / 8;

	for (size_t i = 0; i < bytes / 8; i++)
		data[i] = pattern_word(s->pattern, lba + i / words, (unsigned)(i % words));
}

static int check(const struct settings *s, unsigned block_size, uint64_t lba, const uint64_t *data,
		 size_t bytes)
{
	unsigned words = block_size / 8;

	for (size_t i = 0; i < bytes / 8; i++) {
		uint64_t want = pattern_word(s->pattern, lba + i / words, (unsigned)(i % words));

		if (data[i] == want)
			continue;
		fprintf(stderr, "block %llu, byte %zu: %016llx instead of %016llx\n",
			(unsigned long long)(lba + i / words), i % words * 8,
			(unsigned long long)data[i], (unsigned long long)want);
		return -EILSEQ;
	}
	return 0;
}

/* ---- read and write ---- */

struct job {
	const struct settings *s;
	struct nvme_ctrl *c;
	int file;
	uint64_t next, end; /* blocks */
	uint64_t *slot_lba;
};

static size_t piece(const struct job *j, uint64_t lba)
{
	uint64_t rest = (j->end - lba) * j->c->block_size;

	return rest < j->s->bytes ? rest : j->s->bytes;
}

static int start(struct job *j, struct nvme_queue *q, unsigned slot)
{
	const struct settings *s = j->s;
	uint64_t lba = j->next;
	size_t bytes = piece(j, lba);
	void *buf = nvme_buffer(q, slot);

	j->slot_lba[slot] = lba;
	j->next += bytes / j->c->block_size;
	if (s->write && s->has_pattern) {
		fill(s, j->c->block_size, lba, buf, bytes);
	} else if (s->write) {
		memset(buf, 0, bytes);
		if (pread(j->file, buf, bytes, (off_t)((lba - s->lba) * j->c->block_size)) < 0)
			return -errno;
	} else {
		memset(buf, 0xee, bytes);
	}
	nvme_queue_rw(q, s->write ? NVME_WRITE : NVME_READ, slot, lba, bytes);
	return 0;
}

static int finish(struct job *j, struct nvme_queue *q, unsigned slot, unsigned status)
{
	const struct settings *s = j->s;
	uint64_t lba = j->slot_lba[slot];
	size_t bytes = piece(j, lba);

	if (status) {
		fprintf(stderr, "block %llu: status code type %u, status code %#x\n",
			(unsigned long long)lba, status >> 8 & 7, status & 0xff);
		return -EIO;
	}
	if (s->verify)
		return check(s, j->c->block_size, lba, nvme_buffer(q, slot), bytes);
	if (!s->write && j->file >= 0 &&
	    pwrite(j->file, nvme_buffer(q, slot), bytes,
		   (off_t)((lba - s->lba) * j->c->block_size)) != (ssize_t)bytes)
		return -errno;
	return 0;
}

/* Keep every slot of the first queue busy until all blocks are done. */
static int transfer(struct job *j)
{
	struct nvme_queue *q = &j->c->io[0];
	unsigned in_flight = 0, slot, status;
	int ret = 0;

	for (slot = 0; slot < q->slots && j->next < j->end && !ret; slot++, in_flight++)
		ret = start(j, q, slot);
	if (!ret)
		ret = nvme_ring(q);
	while (in_flight && !ret) {
		unsigned reaped = 0, started = 0;

		while (!ret && nvme_reap(q, &slot, &status)) {
			reaped++;
			in_flight--;
			ret = finish(j, q, slot, status);
			if (!ret && j->next < j->end) {
				ret = start(j, q, slot);
				started++;
				in_flight++;
			}
		}
		if (!ret && reaped)
			ret = nvme_reaped(q);
		if (!ret && started)
			ret = nvme_ring(q);
		if (!ret && !reaped)
			ret = nvme_lost(j->c) ? -ENOTCONN : nvme_wait(q);
	}
	if (!ret && j->s->write) {
		nvme_queue_rw(q, NVME_FLUSH, 0, 0, 0);
		ret = nvme_ring(q);
		while (!ret && !nvme_reap(q, &slot, &status))
			ret = nvme_lost(j->c) ? -ENOTCONN : nvme_wait(q);
		if (!ret)
			ret = nvme_reaped(q);
		if (!ret && status)
			ret = -EIO;
	}
	return ret;
}

static int read_write(const struct settings *s, struct nvme_ctrl *c)
{
	struct job j = {.s = s, .c = c, .file = -1, .next = s->lba};
	const char *path = s->write ? s->input : s->output;
	uint64_t blocks = s->blocks ? s->blocks : c->blocks - (s->lba < c->blocks ? s->lba : 0);
	int ret;

	if (s->lba >= c->blocks || blocks > c->blocks - s->lba) {
		fprintf(stderr, "the namespace has %llu blocks\n", (unsigned long long)c->blocks);
		return -EINVAL;
	}
	j.end = s->lba + blocks;
	if (path) {
		j.file = open(path, s->write ? O_RDONLY : O_RDWR | O_CREAT | O_TRUNC, 0666);
		if (j.file < 0) {
			fprintf(stderr, "%s: %s\n", path, strerror(errno));
			return -errno;
		}
	}
	j.slot_lba = calloc(s->config.slots, sizeof(*j.slot_lba));
	ret = j.slot_lba ? transfer(&j) : -ENOMEM;
	if (ret)
		fprintf(stderr, "%s: %s\n", s->device, strerror(-ret));
	else
		printf("%llu blocks %s\n", (unsigned long long)blocks,
		       s->write    ? "written and flushed"
		       : s->verify ? "verified"
				   : "read");
	free(j.slot_lba);
	if (j.file >= 0)
		close(j.file);
	return ret;
}

/* ---- perf ---- */

/* Latencies: 64 classes for each power of two of nanoseconds, so percentiles are 2 % exact. */
#define CLASSES (64u * 40u)

struct worker {
	const struct settings *s;
	struct nvme_queue *q;
	pthread_t thread;
	uint64_t done, deadline_ns, seed, longest;
	uint64_t *started; /* per slot */
	uint64_t histogram[CLASSES];
	int ret;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static unsigned class_of(uint64_t ns)
{
	unsigned top = ns < 64 ? 0 : 63 - (unsigned)__builtin_clzll(ns) - 5;
	unsigned c = top * 64 + (unsigned)(ns >> top & 63);

	return c < CLASSES ? c : CLASSES - 1;
}

static uint64_t class_ns(unsigned c)
{
	return (uint64_t)(c % 64) << (c / 64);
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void submit(struct worker *w, unsigned slot, uint64_t *lba)
{
	const struct settings *s = w->s;
	const struct nvme_ctrl *c = w->q->ctrl;
	uint64_t unit = s->bytes / c->block_size, units = c->blocks / unit;
	uint64_t at = s->random ? next_random(&w->seed) % units : (*lba)++ % units;

	w->started[slot] = now_ns();
	nvme_queue_rw(w->q, s->write ? NVME_WRITE : NVME_READ, slot, at * unit, s->bytes);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct nvme_queue *q = w->q;
	uint64_t lba = 0, now = now_ns();
	unsigned in_flight, slot, status, idle = 0;
	int ret;

	for (in_flight = 0; in_flight < q->slots; in_flight++)
		submit(w, in_flight, &lba);
	ret = nvme_ring(q);
	while (in_flight && !ret) {
		unsigned reaped = 0, started = 0;

		while (nvme_reap(q, &slot, &status)) {
			uint64_t took;

			now = now_ns();
			took = now - w->started[slot];
			w->histogram[class_of(took)]++;
			if (took > w->longest)
				w->longest = took;
			w->done++;
			reaped++;
			in_flight--;
			if (status)
				ret = -EIO;
			if (!ret && now < w->deadline_ns) {
				submit(w, slot, &lba);
				started++;
				in_flight++;
			}
		}
		if (reaped && !ret)
			ret = nvme_reaped(q);
		if (started && !ret)
			ret = nvme_ring(q);
		if (reaped) {
			idle = 0;
		} else if (!ret) {
			ret = nvme_wait(q);
			if (!ret && ++idle % 4096 == 0 && nvme_lost(q->ctrl))
				ret = -ENOTCONN;
		}
	}
	w->ret = ret;
	return NULL;
}

static double percentile(const uint64_t *histogram, uint64_t total, double p)
{
	uint64_t seen = 0;

	for (unsigned c = 0; c < CLASSES; c++) {
		seen += histogram[c];
		if ((double)seen >= (double)total * p)
			return (double)class_ns(c) / 1000;
	}
	return 0;
}

static void report(const struct settings *s, struct worker *w, unsigned nr, double seconds)
{
	static const double points[] = {0.5, 0.9, 0.99, 0.999};
	static uint64_t histogram[CLASSES];
	uint64_t done = 0, longest = 0;

	for (unsigned i = 0; i < nr; i++) {
		done += w[i].done;
		if (w[i].longest > longest)
			longest = w[i].longest;
		for (unsigned c = 0; c < CLASSES; c++)
			histogram[c] += w[i].histogram[c];
	}
	printf("%s%s of %zu bytes, %u queue%s, depth %u, %s: %.0f IOPS, %.1f MB/s\n",
	       s->random ? "random " : "", s->write ? "writes" : "reads", s->bytes, nr,
	       nr == 1 ? "" : "s", s->config.slots, s->config.irqs ? "interrupts" : "polled",
	       (double)done / seconds, (double)done * (double)s->bytes / seconds / 1e6);
	printf("latency in µs:");
	for (unsigned i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		printf(" %g%% %.1f", points[i] * 100, percentile(histogram, done, points[i]));
	printf(" max %.1f\n", (double)longest / 1000);
}

static int perf(const struct settings *s, struct nvme_ctrl *c)
{
	struct worker *w = calloc(c->nr_queues, sizeof(*w));
	uint64_t begin = now_ns();
	unsigned running = 0;
	int ret = w ? 0 : -ENOMEM;

	if (!ret && c->blocks * c->block_size < s->bytes)
		ret = -EINVAL;
	for (unsigned i = 0; i < c->nr_queues && !ret; i++) {
		w[i] = (struct worker){
			.s = s,
			.q = &c->io[i],
			.seed = 0x853c49e6748fea9bull + i,
			.started = calloc(c->slots, sizeof(uint64_t)),
			.deadline_ns = begin + (uint64_t)(s->seconds * 1e9),
		};
		ret = w[i].started ? -pthread_create(&w[i].thread, NULL, work, &w[i]) : -ENOMEM;
		running += !ret;
	}
	for (unsigned i = 0; i < running; i++) {
		pthread_join(w[i].thread, NULL);
		if (w[i].ret)
			ret = w[i].ret;
	}
	if (ret)
		fprintf(stderr, "%s: %s\n", s->device, strerror(-ret));
	else
		report(s, w, running, (double)(now_ns() - begin) / 1e9);
	for (unsigned i = 0; w && i < c->nr_queues; i++)
		free(w[i].started);
	free(w);
	return ret;
}

/* ---- the command line ---- */

static int show(struct nvme_ctrl *c)
{
	static const char *const ways[] = {
		[UVFIO_PCI_WAY_GROUP] = "VFIO group",
		[UVFIO_PCI_WAY_CDEV] = "VFIO character device",
		[UVFIO_PCI_WAY_VFIO_USER] = "vfio-user",
	};

	printf("%s (%s): model \"%s\", serial \"%s\", firmware \"%s\"\n", uvfio_pci_name(c->dev),
	       ways[uvfio_pci_get_way(c->dev)], c->model, c->serial, c->firmware);
	printf("namespace 1: %llu blocks of %u bytes, at most %zu bytes a command\n",
	       (unsigned long long)c->blocks, c->block_size, c->max_transfer);
	return 0;
}

static const char help[] =
	"usage: nvme identify|read|write|perf [OPTION ...] DEVICE\n"
	"DEVICE is a PCI address (0000:01:00.0) or unix:PATH of a vfio-user server.\n"
	"  -o, --options LIST      options for opening it, e.g. vf_token=UUID or share=no\n"
	"  -d, --depth N           commands in flight in each queue (1)\n"
	"  -b, --block-size BYTES  of one command (4096)\n"
	"  -i, --irq               wait for interrupts instead of polling\n"
	"  -n, --no-map            do not map BAR 0: registers by messages or system calls\n"
	"read and write:\n"
	"  -s, --start BLOCK       where to begin (0)\n"
	"  -c, --count BLOCKS      how many (all)\n"
	"  -p, --pattern SEED      write a pattern, read to compare with it (--verify)\n"
	"  -v, --verify            read: compare with the pattern\n"
	"  -f, --file FILE         write what it contains, or read into it\n"
	"perf:\n"
	"  -t, --time SECONDS      how long (2)\n"
	"  -q, --queues N          queue pairs, each with a thread (1)\n"
	"  -r, --random            random addresses\n"
	"  -w, --write             write instead of read\n";

static _Noreturn void usage(void)
{
	fputs(help, stderr);
	exit(2);
}

static uint64_t number(const char *text, uint64_t min, uint64_t max)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);

	if (*end || end == text || n < min || n > max) {
		fprintf(stderr, "%s: not a number from %llu to %llu\n", text,
			(unsigned long long)min, (unsigned long long)max);
		exit(2);
	}
	return n;
}

static void parse(struct settings *s, int argc, char **argv)
{
	static const struct option options[] = {
		{"options", required_argument, NULL, 'o'},
		{"depth", required_argument, NULL, 'd'},
		{"block-size", required_argument, NULL, 'b'},
		{"irq", no_argument, NULL, 'i'},
		{"no-map", no_argument, NULL, 'n'},
		{"start", required_argument, NULL, 's'},
		{"count", required_argument, NULL, 'c'},
		{"pattern", required_argument, NULL, 'p'},
		{"verify", no_argument, NULL, 'v'},
		{"file", required_argument, NULL, 'f'},
		{"time", required_argument, NULL, 't'},
		{"queues", required_argument, NULL, 'q'},
		{"random", no_argument, NULL, 'r'},
		{"write", no_argument, NULL, 'w'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "o:d:b:ins:c:p:vf:t:q:rwh", options, NULL)) != -1) {
		switch (opt) {
		case 'o':
			s->config.options = optarg;
			break;
		case 'd':
			s->config.slots = (unsigned)number(optarg, 1, 1023);
			break;
		case 'b':
			s->bytes = number(optarg, 512, 512 * NVME_PAGE);
			break;
		case 'i':
			s->config.irqs = true;
			break;
		case 'n':
			s->config.map = false;
			break;
		case 's':
			s->lba = number(optarg, 0, UINT64_MAX);
			break;
		case 'c':
			s->blocks = number(optarg, 1, UINT64_MAX);
			break;
		case 'p':
			s->pattern = number(optarg, 0, UINT64_MAX);
			s->has_pattern = true;
			break;
		case 'v':
			s->verify = true;
			break;
		case 'f':
			s->input = s->output = optarg;
			break;
		case 't':
			s->seconds = atof(optarg);
			break;
		case 'q':
			s->config.queues = (unsigned)number(optarg, 1, NVME_MAX_QUEUES);
			break;
		case 'r':
			s->random = true;
			break;
		case 'w':
			s->write = true;
			break;
		case 'h':
			fputs(help, stdout);
			exit(0);
		default:
			usage();
		}
	}
	if (optind != argc - 1)
		usage();
	s->device = argv[optind];
}

int main(int argc, char **argv)
{
	struct settings s = {
		.config = {.queues = 1, .slots = 1, .map = true},
		.bytes = 4096,
		.seconds = 2,
	};
	const char *command = argc > 1 ? argv[1] : "";
	struct nvme_ctrl c;
	int ret;

	if (!strcmp(command, "--help"))
		return fputs(help, stdout) < 0;
	if (argc < 3)
		usage();
	parse(&s, argc - 1, argv + 1);
	if (!strcmp(command, "write")) {
		s.write = true;
		if (!s.has_pattern == !s.input) {
			fprintf(stderr, "write: give --pattern or --file\n");
			return 2;
		}
	} else if (strcmp(command, "identify") && strcmp(command, "read") &&
		   strcmp(command, "perf")) {
		usage();
	}
	s.config.slot_size = (s.bytes + NVME_PAGE - 1) / NVME_PAGE * NVME_PAGE;
	if (nvme_open(&c, s.device, &s.config))
		return 1;
	if (s.bytes % c.block_size || s.bytes > c.max_transfer) {
		fprintf(stderr, "%s: a command has whole blocks of %u bytes, at most %zu bytes\n",
			s.device, c.block_size, c.max_transfer);
		ret = -EINVAL;
	} else if (!strcmp(command, "identify")) {
		ret = show(&c);
	} else if (!strcmp(command, "perf")) {
		ret = perf(&s, &c);
	} else {
		ret = read_write(&s, &c);
	}
	nvme_close(&c);
	return ret ? 1 : 0;
}
