// SPDX-License-Identifier: BSD-3-Clause
#include "wire_attack.h"

#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

/* Threads that the server may keep for a while after an attack; at the end they are gone too. */
#define SPARE_THREADS 16

/* The running attack; this program has one thread. */
static int failures;
static const char *skipped;

int attack_check(int ok, const char *what, const char *file, int line)
{
	if (!ok) {
		const char *base = strrchr(file, '/');

		failures++;
		printf("# %s:%d: %s (%s)\n", base ? base + 1 : file, line, what, strerror(errno));
		fflush(stdout);
	}
	return ok;
}

void attack_skip(const char *why)
{
	skipped = why;
}

/* Between two looks at something that nobody announces. */
static void pause_briefly(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static int open_as(struct wire *w, const char *path, bool twin)
{
	int rc = 0;

	for (int i = 0; i < WIRE_PATIENCE; i++) {
		rc = wire_open_twin(w, path, twin);
		if (rc != -EBUSY && rc != -ECONNRESET)
			break;
		pause_briefly();
	}
	errno = -rc;
	return rc;
}

int attack_open(struct wire *w, const char *path)
{
	return open_as(w, path, false);
}

int attack_open_twin(struct wire *w, const char *path)
{
	return open_as(w, path, true);
}

int attack_version(struct wire *w, const char *path, unsigned minor, const char *json)
{
	int rc = 0;

	for (int i = 0; i < WIRE_PATIENCE; i++) {
		rc = wire_connect(w, path);
		if (!rc)
			rc = wire_version(w, minor, json);
		if (rc)
			wire_close(w);
		if (rc != -EBUSY)
			break;
		pause_briefly();
	}
	errno = -rc;
	return rc;
}

int attack_verdict(struct wire *w)
{
	long rc = wire_answer(w, w->id, NULL);

	errno = rc < 0 ? (int)-rc : 0;
	return rc >= 0 ? 0 : rc == -ECONNRESET ? -1 : (int)-rc;
}

int attack_send(struct wire *w, unsigned command, const void *data, size_t n, const int *fds,
		unsigned nfds)
{
	if (wire_send(w, command, WIRE_COMMAND, data, n, fds, nfds))
		return -1;
	return attack_verdict(w);
}

int attack_send_raw(struct wire *w, const struct wire_header *head, const void *data, size_t n)
{
	w->id = head->id;
	if (wire_send_raw(w, head, data, n, NULL, 0))
		return -1;
	return attack_verdict(w);
}

int attack_answers(struct wire *w)
{
	struct wire_device_info info = {.argsz = sizeof(info)};
	long rc = wire_ask(w, WIRE_GET_INFO, &info, sizeof(info), &info, sizeof(info));

	errno = rc < 0 ? (int)-rc : 0;
	return !rc && info.num_regions >= 9 && info.num_irqs >= 5;
}

void attack_others_live(const struct victim *v)
{
	struct wire w;
	uint32_t vs;

	NEED(!attack_open(&w, v->other_path));
	for (int i = 0; i < 200; i++)
		NEED(wire_read(&w, 0, 8, &vs, 4) == 4);
	wire_close(&w);
}

int attack_memfd(size_t size)
{
	int fd = memfd_create("attack", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && ftruncate(fd, (off_t)size)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* ---- the server as /proc shows it ------------------------------------------------------------ */

static int entries(pid_t pid, const char *what)
{
	char path[64];
	int count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	dir = opendir(path);
	if (!dir)
		return -1;
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

long attack_memory(const struct victim *v)
{
	char path[64], line[256];
	long kib = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)v->pid);
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "RssAnon: %ld", &kib) == 1)
			break;
	}
	fclose(file);
	return kib;
}

static void print_threads(pid_t pid)
{
	char path[300], name[32];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)pid, entry->d_name);
		file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
		if (file && fgets(name, sizeof(name), file))
			printf("# thread %s: %s", entry->d_name, name);
		if (file)
			fclose(file);
	}
	if (dir)
		closedir(dir);
}

/* Nobody tells us when the server has dropped what an ended client left, so it is looked for. */
static void await(pid_t pid, const char *what, int want)
{
	int now = 0;

	for (int i = 0; i < WIRE_PATIENCE; i++) {
		now = entries(pid, what);
		if (now < 0 || now <= want)
			break;
		pause_briefly();
	}
	if (now < 0 || now > want) {
		print_threads(pid);
		printf("# the server has %d entries in /proc/PID/%s, and had %d\n", now, what,
		       want);
		failures++;
	}
}

/* ---- a new client ---------------------------------------------------------------------------- */

static void expect_fresh(const struct victim *v)
{
	uint32_t enabled = ~0u, ready = ~0u;
	uint16_t command = 0xffff;
	uint64_t left = ~0ull;
	struct wire w;

	NEED(!kill(v->pid, 0));
	NEED(!attack_open(&w, v->path));
	CHECK(attack_answers(&w));
	CHECK(wire_read(&w, CONFIG, 4, &command, 2) == 2);
	CHECK(!(command & 4));
	CHECK(wire_read(&w, 0, 0x14, &enabled, 4) == 4 && !(enabled & 1));
	CHECK(wire_read(&w, 0, 0x1c, &ready, 4) == 4 && !(ready & 1));
	/* No interrupt mode is active, nothing is mapped. */
	CHECK(wire_set_irqs(&w, 2, 1 | 32, 0, 0, NULL, 0) == -EINVAL);
	CHECK(!wire_unmap(&w, 0, 0, 2, &left) && left == 0);
	wire_close(&w);
}

/* What the server sets up for its first clients, and keeps, is no leak. */
static void warm_up(const struct victim *v)
{
	int memory = attack_memfd(16 * PAGE);
	struct wire w;

	attack_others_live(v);
	NEED(memory >= 0 && !attack_open(&w, v->path));
	CHECK(!wire_map(&w, 0x100000, 16 * PAGE, memory, 0));
	CHECK(!wire_nvme_enable(&w, 0x100000));
	CHECK(!wire_nvme_ring(&w, 1));
	wire_close(&w);
	close(memory);
	expect_fresh(v);
}

/* The number of entries when it does not change any more. */
static int settled(pid_t pid, const char *what)
{
	int last = -1, same = 0;

	for (int i = 0; i < WIRE_PATIENCE && same < 100; i++) {
		int now = entries(pid, what);

		same = now == last ? same + 1 : 0;
		last = now;
		pause_briefly();
	}
	return last;
}

static void run(const struct victim *v, const struct attack *a, unsigned number, int fds,
		int threads)
{
	failures = 0;
	skipped = a->skip;
	if (!skipped)
		a->run(v);
	if (!skipped) {
		expect_fresh(v);
		await(v->pid, "fd", fds);
		await(v->pid, "task", threads + SPARE_THREADS);
	}
	if (skipped)
		printf("ok %u - %s # SKIP %s\n", number, a->name, skipped);
	else
		printf("%sok %u - %s\n", failures ? "not " : "", number, a->name);
	fflush(stdout);
}

int attack_main(int argc, char **argv, const struct attack *const *attacks)
{
	struct victim v;
	unsigned number = 0;
	int failed = 0, fds, threads;

	if (argc < 4) {
		fprintf(stderr, "usage: %s SOCKET OTHER-SOCKET SERVER-PID [ATTACK]\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	v = (struct victim){argv[1], argv[2], atoi(argv[3])};
	warm_up(&v);
	if (failures) {
		printf("Bail out! the server does not serve\n");
		return 1;
	}
	fds = settled(v.pid, "fd");
	threads = settled(v.pid, "task");
	for (; *attacks; attacks++) {
		for (const struct attack *a = *attacks; a->name; a++) {
			if (argc > 4 && strcmp(argv[4], a->name))
				continue;
			run(&v, a, ++number, fds, threads);
			failed |= failures;
			if (kill(v.pid, 0)) {
				printf("Bail out! the server is dead\n");
				return 1;
			}
		}
	}
	failures = 0;
	/* A few may be started once and late, and stay; a leak of hundreds of attacks is no few. */
	await(v.pid, "task", threads + 2);
	printf("%sok %u - as many threads as before\n", failures ? "not " : "", ++number);
	printf("1..%u\n", number);
	return number < 2 || failed || failures;
}
