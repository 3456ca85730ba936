/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs that misuse descriptors of migration data, or die with them (E.3). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devices/pcitest/pcitest_spec.h"
#include "migrate_client.h"
#include "vfio/vfio_uapi.h"

static char buf[1u << 20];

static char *stream_of(struct device *a, size_t *len)
{
	char *bytes = NULL;
	int fd = state_set(a, STOP_COPY);

	*len = 0;
	if (fd < 0 || get_all(fd, &bytes, len))
		bail("STOP_COPY");
	close(fd);
	state_set(a, RUNNING);
	return bytes;
}

/* Streams that are none. */
static void wrong_streams(struct device *a, struct device *b)
{
	size_t len;
	char *bytes = stream_of(a, &len);
	int fd;

	memory_fill(b, 3);
	fd = state_set(b, RESUMING);
	ok(put_all(fd, bytes, len / 2), "half a stream");
	close(fd);
	is(state_set(b, STOP), -EINVAL, "is none: EINVAL");
	is(ioctl(b->fd, VFIO_DEVICE_RESET), 0, "a reset");
	is(state_get(b), RUNNING, "helps");

	fd = state_set(b, RESUMING);
	memset(buf, 0x5a, sizeof(buf));
	ok(put(fd, buf, sizeof(buf)) < 0, "nonsense is refused");
	ok(put(fd, bytes, len < 100 ? len : 100) < 0, "and what comes after it");
	ok(state_set(b, STOP) < 0, "it is no stream");
	close(fd);
	ioctl(b->fd, VFIO_DEVICE_RESET);

	bytes[len / 2] ^= 1;
	fd = state_set(b, RESUMING);
	put_all(fd, bytes, len);
	ok(state_set(b, STOP) < 0, "one with a bit that is wrong is none");
	close(fd);
	ioctl(b->fd, VFIO_DEVICE_RESET);
	free(bytes);
}

/* The answer to SET cannot be written: the program is to have no descriptor of which it knows
 * nothing. */
static void unwritable(struct device *a)
{
	struct vfio_device_feature *f =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vfio_device_feature_mig_state s = {.device_state = PRE_COPY};
	unsigned before = open_fds();

	f->argsz = sizeof(*f) + sizeof(s);
	f->flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
	memcpy(f->data, &s, sizeof(s));
	mprotect(f, 4096, PROT_READ);
	is(ioctl(a->fd, VFIO_DEVICE_FEATURE, f) ? -errno : 0, -EFAULT,
	   "SET with an answer that cannot be written: EFAULT");
	is(open_fds(), before, "nothing is left open");
	munmap(f, 4096);
	state_set(a, RUNNING);
}

/* Two processes read one session: each byte goes to one of them. */
static void two_readers(struct device *a)
{
	int fd, pair[2], from = 0, status;
	size_t len, all = 0, n;
	pid_t pids[2];
	char *bytes = stream_of(a, &len);

	fd = state_set(a, STOP_COPY);
	if (fd < 0 || pipe(pair))
		bail("STOP_COPY");
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			for (n = 0; (from = (int)get(fd, buf, 4096)) > 0; n += (size_t)from)
				;
			_exit(from || write(pair[1], &n, sizeof(n)) != sizeof(n));
		}
	}
	for (int i = 0; i < 2; i++) {
		waitpid(pids[i], &status, 0);
		if (WIFEXITED(status) && !WEXITSTATUS(status) &&
		    read(pair[0], &n, sizeof(n)) == sizeof(n))
			all += n;
	}
	is((long)all, (long)len, "two processes read a session: together they have all of it");
	close(fd);
	close(pair[0]);
	close(pair[1]);
	state_set(a, RUNNING);
	free(bytes);
}

static void on_alarm(int sig)
{
}

/* The kernel's drivers are not interrupted, and neither are we. */
static void signals(struct device *a)
{
	struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
	struct sigaction act = {.sa_handler = on_alarm};
	size_t len, got = 0;
	char *bytes = stream_of(a, &len), *other = NULL;
	int fd = state_set(a, STOP_COPY);

	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	is(get_all(fd, &other, &got), 0, "a timer's signals do not interrupt a read");
	setitimer(ITIMER_REAL, &never, NULL);
	ok(got == len && !memcmp(other, bytes, len), "nothing is lost");
	close(fd);
	state_set(a, RUNNING);
	free(other);
	free(bytes);
}

/* Kill a process in the midst of reading, or writing. */
static void killed(struct device *a, struct device *b)
{
	char byte;
	int fd, pair[2];
	pid_t pid;

	for (int round = 0; round < 20; round++) {
		struct device *d = round & 1 ? b : a;

		fd = state_set(d, round & 1 ? RESUMING : PRE_COPY);
		if (fd < 0 || pipe(pair))
			bail("a session");
		pid = fork();
		if (!pid) {
			(void)!write(pair[1], "", 1);
			for (;;) {
				if (round & 1)
					put(fd, buf, sizeof(buf));
				else
					get(fd, buf, sizeof(buf));
			}
		}
		(void)!read(pair[0], &byte, 1);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		close(pair[0]);
		close(pair[1]);
		close(fd);
		if (ioctl(d->fd, VFIO_DEVICE_RESET))
			bail("a reset");
	}
	is(state_get(a), RUNNING, "20 processes killed in the midst of it: the devices run");
}

/* A program that stops in the midst of a session holds up nobody. */
static void stalled(struct device *a, struct device *b)
{
	int fd = state_set(a, STOP_COPY), other, status;
	pid_t pid = fork();

	if (!pid) {
		get(fd, buf, 4096);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, &status, WUNTRACED);
	other = state_set(b, STOP_COPY);
	ok(other >= 0 && get(other, buf, 4096) > 0, "another device's session goes on");
	ok(get(fd, buf, 4096) > 0, "and so does this one's other reader");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd);
	close(other);
	state_set(a, RUNNING);
	state_set(b, RUNNING);
}

/* Descriptors that are kept when their session has ended are limited, and the rest goes on. */
static void many(struct device *a)
{
	int fds[200], n = 0, fd;

	while (n < 200 && (fd = state_set(a, PRE_COPY)) >= 0) {
		fds[n++] = fd;
		state_set(a, RUNNING);
	}
	is(fd, -ENFILE, "too many descriptors of old sessions: ENFILE");
	is(get(fds[0], buf, 1), -ENODEV, "they answer ENODEV");
	state_set(a, RUNNING);
	while (n)
		close(fds[--n]);
	/* The kernel tells of a close afterwards. */
	for (n = 0; n < 10000 && (fd = state_set(a, PRE_COPY)) == -ENFILE; n++) {
		state_set(a, RUNNING);
		poll(NULL, 0, 1);
	}
	ok(fd >= 0, "when they are closed there is room again");
	close(fd);
	state_set(a, RUNNING);
}

void hostile(struct device *a, struct device *b)
{
	wrong_streams(a, b);
	unwritable(a);
	two_readers(a);
	signals(a);
	killed(a, b);
	stalled(a, b);
	many(a);
}
