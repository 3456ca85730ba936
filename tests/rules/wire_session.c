// SPDX-License-Identifier: BSD-3-Clause
/*
 * Sessions of migration data as messages (E.3): MIG_DATA_READ and MIG_DATA_WRITE.
 *
 * The protocol has no files for them, and a connection has the latest session only.  For the cases
 * a file of ours stands for one; what they read and write there goes as messages.
 */
#include <poll.h>
#include <sys/stat.h>
#include "wire_private.h"

#define SESSIONS  4096
#define STOP_COPY 3 /* the state (E.2) */
static ino_t sessions[SESSIONS];
static unsigned nr_sessions;

ssize_t __real_read(int fd, void *buf, size_t count);
ssize_t __real_write(int fd, const void *buf, size_t count);
int __real_poll(struct pollfd *fds, nfds_t nfds, int timeout);

ssize_t __wrap_read(int fd, void *buf, size_t count);
ssize_t __wrap_write(int fd, const void *buf, size_t count);
int __wrap_poll(struct pollfd *fds, nfds_t nfds, int timeout);

struct mig_data {
	uint32_t argsz, size;
};

/* MIG_DATA_READ: bytes or -errno. */
static long mig_read(struct wire *w, void *buf, size_t count)
{
	uint32_t size = (uint32_t)(count < CHUNK ? count : CHUNK);
	struct mig_data head = {sizeof(head) + size, size};
	struct wire_message answer;
	long rc = wire_call(w, WIRE_MIG_READ, &head, sizeof(head), NULL, 0, &answer);

	if (rc < 0)
		return rc;
	rc = -EPROTO;
	if (answer.len >= sizeof(head)) {
		memcpy(&head, answer.data, sizeof(head));
		if (head.size <= size && answer.len == sizeof(head) + head.size &&
		    head.argsz == answer.len) {
			store(buf, answer.data + sizeof(head), head.size);
			rc = head.size;
		}
	}
	wire_drop(&answer);
	return rc;
}

static long mig_write(struct wire *w, const void *buf, size_t count)
{
	uint32_t size = (uint32_t)(count < CHUNK ? count : CHUNK);
	struct mig_data head = {sizeof(head) + size, size};
	uint8_t *bytes = malloc(sizeof(head) + size);
	long rc;

	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, &head, sizeof(head));
	fetch(bytes + sizeof(head), buf, size);
	rc = wire_call(w, WIRE_MIG_WRITE, bytes, sizeof(head) + size, NULL, 0, NULL);
	free(bytes);
	return rc < 0 ? rc : rc ? -EPROTO : (long)size;
}

/* Which session is there?  A read of nothing tells: 0 it is read, EBADF it is written. */
static char session_kind(struct wire *w)
{
	long rc = mig_read(w, NULL, 0);

	return rc == 0 ? 'r' : rc == -EBADF ? 'w' : '-';
}

/* The number of a session from 1, 0: it is something else. */
unsigned wire_session(int fd)
{
	struct stat st;

	if (!nr_sessions || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return 0;
	for (unsigned i = 0; i < nr_sessions; i++) {
		if (sessions[i] == st.st_ino)
			return i + 1;
	}
	return 0;
}

/* SET of the state: the message has no descriptor, so a file of ours stands for a session that has
 * begun, which is to be seen from the data that can be read or written. */
long wire_set_state(struct wire *w, void *arg)
{
	char before = session_kind(w), after;
	int32_t state[4], fd = -1;
	struct wire_message answer;
	struct stat st;
	long rc;

	fetch(state, arg, sizeof(state));
	rc = wire_call(w, WIRE_FEATURE, state, sizeof(state), NULL, 0, &answer);
	if (rc < 0)
		return rc;
	if (answer.len < sizeof(state))
		rc = -EPROTO;
	else
		memcpy(state, answer.data, sizeof(state));
	wire_drop(&answer);
	if (rc < 0 || state[3] != -1)
		return -EPROTO;
	after = session_kind(w);
	if (after != '-' && after != before) {
		fd = memfd_create("session", MFD_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) || nr_sessions == SESSIONS)
			return -EMFILE;
		sessions[nr_sessions++] = st.st_ino;
	}
	store((char *)arg + 12, &fd, sizeof(fd));
	return 0;
}

static bool state_is(uint32_t wanted)
{
	struct {
		uint32_t argsz, flags, state;
		int32_t fd;
	} get = {sizeof(get), VFIO_DEVICE_FEATURE_GET | 2, 0, -1};

	return !wire_ask(wire_of_case(), WIRE_FEATURE, &get, sizeof(get), &get, sizeof(get)) &&
	       get.state == wanted;
}

/* Nobody has a name for an earlier session of the connection any more. */
static long session_call(unsigned number, void *to, const void *from, size_t count)
{
	if (number < nr_sessions)
		return -ENODEV;
	return to ? mig_read(wire_of_case(), to, count) : mig_write(wire_of_case(), from, count);
}

ssize_t __wrap_read(int fd, void *buf, size_t count)
{
	unsigned number = wire_session(fd);
	char byte;
	long rc;

	if (!number)
		return __real_read(fd, buf, count);
	rc = session_call(number, buf, NULL, count);
	if (rc > 0 && (size_t)rc < count && count <= CHUNK && state_is(STOP_COPY) &&
	    mig_read(wire_of_case(), &byte, 1) != 0)
		rc = -EPROTO; /* a short answer says that there is no more */
	if (rc >= 0)
		return rc;
	errno = (int)-rc;
	return -1;
}

ssize_t __wrap_write(int fd, const void *buf, size_t count)
{
	unsigned number = wire_session(fd);
	long rc;

	if (!number)
		return __real_write(fd, buf, count);
	rc = session_call(number, NULL, buf, count);
	if (rc >= 0)
		return rc;
	errno = (int)-rc;
	return -1;
}

int __wrap_poll(struct pollfd *fds, nfds_t nfds, int timeout)
{
	for (nfds_t i = 0; i < nfds; i++) {
		if (wire_session(fds[i].fd))
			not_applicable(NO_FILE);
	}
	return __real_poll(fds, nfds, timeout);
}
