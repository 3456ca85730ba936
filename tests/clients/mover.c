/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moves the devices of a program that knows nothing of it, again and again while it runs, as a VMM
 * does with those of a guest:
 *
 *	mover REPORT -- PROGRAM [ARGUMENT ...]
 *
 * The program is stopped (SIGSTOP: a guest whose CPUs stand still).  The state of each of its
 * devices that can be moved is read; the device is reset, so that nothing of it is left; and the
 * state is put into it.  Then the program goes on.  Its own descriptors are used for that, so it is
 * a door's ordinary client that does so.  Exits as PROGRAM does; REPORT gets how many moves there
 * were, and how many of them of an I/OAT channel that was at work.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/vfio.h>

#define MAX_DEVICES 8
#define STREAM_MAX  (16u << 20)

enum { STOP = 1, RUNNING = 2, STOP_COPY = 3, RESUMING = 4 };

struct state_call {
	struct vfio_device_feature head;
	struct {
		uint32_t state;
		int32_t fd;
	} arg;
};

static unsigned moves, at_work;
static uint8_t stream[STREAM_MAX];

static void give_up(const char *what)
{
	fprintf(stderr, "mover: %s: %s\n", what, strerror(errno));
	exit(99);
}

static int go_to(int dev, uint32_t state)
{
	struct state_call c = {
		{sizeof(c), VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE},
		{state, -1}};

	if (ioctl(dev, VFIO_DEVICE_FEATURE, &c))
		give_up("a state");
	return c.arg.fd;
}

static bool can_move(int fd)
{
	struct vfio_device_feature probe = {sizeof(probe),
					    VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET |
						    VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE};

	return !ioctl(fd, VFIO_DEVICE_FEATURE, &probe);
}

/* Its section CHAN says that it is active (docs/devices/ioat.md, docs/migration-stream.md). */
static bool is_at_work(size_t len)
{
	const uint8_t *chan = memmem(stream, len, "CHAN", 4);

	return chan && chan + 32 + 33 < stream + len && chan[32 + 33] == 0;
}

static void move(int dev)
{
	int fd = go_to(dev, STOP_COPY);
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, stream + len, sizeof(stream) - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		give_up("reading");
	close(fd);
	if (ioctl(dev, VFIO_DEVICE_RESET))
		give_up("a reset");
	fd = go_to(dev, RESUMING);
	if (write(fd, stream, len) != (ssize_t)len)
		give_up("writing");
	go_to(dev, RUNNING);
	close(fd);
	moves++;
	at_work += is_at_work(len);
}

/* The devices that @pid, which stands still, has open; not its duplicates. */
static unsigned devices_of(pid_t pid, int pidfd, int out[MAX_DEVICES])
{
	char path[64];
	unsigned n = 0;
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && n < MAX_DEVICES && (d = readdir(dir))) {
		int fd = (int)syscall(SYS_pidfd_getfd, pidfd, atoi(d->d_name), 0);

		if (d->d_name[0] == '.' || fd < 0)
			continue;
		if (can_move(fd))
			out[n++] = fd;
		else
			close(fd);
	}
	if (dir)
		closedir(dir);
	return n;
}

/* True: it stands still, all of it.  False: it has ended, as *@status says. */
static bool halt(pid_t pid, int *status)
{
	kill(pid, SIGSTOP);
	if (waitpid(pid, status, WUNTRACED) != pid)
		give_up("waitpid");
	return WIFSTOPPED(*status);
}

int main(int argc, char **argv)
{
	uint64_t random = (uint64_t)getpid() * 0x9E3779B97F4A7C15ull;
	int status, pidfd, devices[MAX_DEVICES];
	FILE *report;
	pid_t pid;

	if (argc < 4 || strcmp(argv[2], "--") != 0)
		return 2;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execvp(argv[3], argv + 3);
		_exit(127);
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		give_up("pidfd_open");
	while (halt(pid, &status)) {
		unsigned n = devices_of(pid, pidfd, devices);

		for (unsigned i = 0; i < n; i++) {
			move(devices[i]);
			close(devices[i]);
		}
		kill(pid, SIGCONT);
		/* Wherever that finds it next time. */
		random = random * 6364136223846793005ull + 1442695040888963407ull;
		nanosleep(&(struct timespec){.tv_nsec = (long)(random >> 33) % 10000000}, NULL);
	}
	report = fopen(argv[1], "we");
	if (!report || fprintf(report, "moves=%u at-work=%u\n", moves, at_work) < 0 ||
	    fclose(report))
		give_up(argv[1]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
