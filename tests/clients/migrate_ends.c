// SPDX-License-Identifier: BSD-3-Clause
/*
 * Programs that end in the midst of a session of migration data (E.3): by a signal, by themselves,
 * by an exec; with nothing under way, with a read or a write of data, with calls on the device.
 * Whoever has seen the end finds the group free (A.4).
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "migrate_client.h"

static const char *const ways[] = {"kill", "exit", "exec"};
static const char *const doings[] = {"nothing", "read", "write", "calls"};

struct doing {
	struct device d;
	int fd;
	unsigned what;
};

static void *go_on(void *arg)
{
	const struct doing *doing = arg;
	static char buf[1 << 16];

	for (;;) {
		if (doing->what == 1)
			(void)get(doing->fd, buf, sizeof(buf));
		else if (doing->what == 2 && put(doing->fd, buf, sizeof(buf)) < 0)
			pause(); /* there is no more to be had */
		else if (doing->what == 3)
			state_get(&doing->d);
	}
	return NULL;
}

void end(const char *name, unsigned n)
{
	const char *const way = ways[n % 3];
	struct doing doing = {.what = n / 3 % 4};
	pthread_t thread;

	device_open(&doing.d, name);
	doing.fd = state_set(&doing.d, doing.what == 2 ? RESUMING : STOP_COPY);
	if (doing.fd < 0)
		bail("a session");
	if (doing.what && pthread_create(&thread, NULL, go_on, &doing))
		bail("a thread");
	/* Also some time later: after what the thread does first. */
	for (unsigned i = 0; i < n / 12 % 4; i++)
		state_get(&doing.d);
	if (!strcmp(way, "kill"))
		raise(SIGKILL);
	if (!strcmp(way, "exec"))
		execl("/proc/self/exe", "migrate_client", "open", name, (char *)NULL);
	_exit(0);
}

void ends(const char *name, unsigned times)
{
	unsigned wrong = 0;
	char what[64];

	for (unsigned n = 0; n < times; n++) {
		const int want = strcmp(ways[n % 3], "kill") != 0 ? 0 : SIGKILL;
		pid_t pid;
		int status;

		fflush(stdout);
		pid = fork();
		if (!pid)
			end(name, n);
		if (waitpid(pid, &status, 0) != pid || status != want) {
			printf("# %u: it ended by %s, doing %s: %#x\n", n, ways[n % 3],
			       doings[n / 3 % 4], status);
			wrong++;
		}
	}
	snprintf(what, sizeof(what), "%u programs ended in the midst of a session", times);
	is(wrong, 0, what);
}
