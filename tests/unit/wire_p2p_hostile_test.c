/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients that mean harm with the fd of a region (D.4): they cut the file, map it without end, die
 * with it mapped elsewhere, hold it beyond the device's life, and unmap what is under way.
 */
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "wire_p2p.h"

#define MEMORY 8192u

/* ---- the file is cut ---- */

/* The pages of a memory area are in the file while that is out.  Who cuts it loses what was there,
 * and nobody else anything. */
static void file_is_cut(void **state)
{
	uint64_t offset;
	struct stat st;
	struct pair p;
	char got[8];
	int file;

	up(&p);
	file = region_file(p.fd[1], &offset);
	assert_int_equal(fstat(file, &st), 0);
	assert_int_equal(client_map(p.fd[0], IOVA, MEMORY, file, offset), 0);
	memset(p.dev[0]->data, 0x5a, MEMORY);
	assert_int_equal(transfer(&p, IOVA, MEMORY, 2), 0);
	for (unsigned i = 0; i < 2; i++) {
		/* Nothing at all, then half of it. */
		assert_int_equal(ftruncate(file, i ? (off_t)offset + 4096 : 0), 0);
		transfer(&p, IOVA, MEMORY, 2);
		memset(p.dev[0]->data, 0xff, MEMORY);
		assert_int_equal(transfer(&p, IOVA, MEMORY, 1), 0);
		assert_int_equal(p.dev[0]->data[MEMORY - 1], 0);
		/* The owner answers as ever. */
		assert_int_equal(client_get(p.fd[1], W_ID), WDEV_ID);
		assert_int_equal(client_read(p.fd[1], 2, MEMORY - 8, got, 8), 0);
		assert_int_equal(client_write(p.fd[1], 2, 0, got, 8), 0);
	}
	assert_int_equal(ftruncate(file, st.st_size), 0);
	memset(p.dev[0]->data, 0x6b, MEMORY);
	assert_int_equal(transfer(&p, IOVA, MEMORY, 2), 0);
	assert_int_equal(client_read(p.fd[1], 2, MEMORY - 8, got, 8), 0);
	assert_int_equal((uint8_t)got[7], 0x6b);
	close(file);
	down(&p);
}

/* ---- as many as there can be ---- */

static void without_end(void **state)
{
	unsigned n = 0;
	uint64_t offset, size;
	struct pair p;
	int file, ret;

	up(&p);
	file = region_file(p.fd[1], &offset);
	while (!(ret = client_map(p.fd[0], IOVA + n * MEMORY, MEMORY, file, offset)))
		n++;
	assert_int_equal(ret, ENOSPC); /* dma_entry_limit */
	assert_int_equal(n, 65535);
	strcpy((char *)p.dev[0]->data, "many");
	assert_int_equal(transfer(&p, IOVA + 40000 * MEMORY, 5, 2), 0);
	/* All at once they are away, and back. */
	decode(&p, false);
	for (unsigned i = 0; i < n; i += 1111)
		assert_int_equal(transfer(&p, IOVA + i * MEMORY, 8, 2), EIO);
	decode(&p, true);
	assert_int_equal(transfer(&p, IOVA + (n - 1) * MEMORY, 8, 1), 0);
	assert_string_equal((char *)p.dev[0]->data, "many");
	assert_int_equal(client_unmap(p.fd[0], 0, 0, VFIO_DMA_UNMAP_FLAG_ALL, &size), 0);
	assert_int_equal(size, (uint64_t)n * MEMORY);
	close(file);
	down(&p);
}

/* ---- the owner's client dies ---- */

static int receive_fd(int sock)
{
	int fd = -1;
	char byte;

	assert_int_equal(read_all(sock, &byte, 1, &fd), 0);
	assert_true(fd >= 0);
	return fd;
}

/* The file came from another process, and is a right; its process is killed. */
static void owner_is_killed(void **state)
{
	uint64_t offset, size;
	int pair[2], file;
	struct pair p;
	pid_t pid;

	up(&p);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	file = region_file(p.fd[1], &offset);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		/* It has the connection to device 1, alone. */
		send_fds(pair[1], "", 1, &file, 1);
		for (;;)
			pause();
	}
	close(p.fd[1]);
	close(file);
	file = receive_fd(pair[0]);
	assert_int_equal(client_map(p.fd[0], IOVA, MEMORY, file, offset), 0);
	assert_int_equal(transfer(&p, IOVA, MEMORY, 2), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	/* The server is told; until then it works. */
	while (transfer(&p, IOVA, MEMORY, 2) != EIO)
		;
	open_one(&p, 1);
	assert_int_equal(transfer(&p, IOVA, MEMORY, 2), EIO);
	assert_int_equal(client_unmap(p.fd[0], IOVA, MEMORY, 0, &size), 0);
	assert_int_equal(size, MEMORY);
	close(pair[0]);
	close(pair[1]);
	close(file);
	down(&p);
}

/* ---- the device goes, and one with its name comes ---- */

static atomic_bool removed;

static void note_removed(void *arg, const char *name)
{
	removed = true;
}

static void same_name(void **state)
{
	struct wire_options options;
	struct uvfio_error err = {""};
	uint64_t offset, size;
	static struct reply r;
	char zeros[8] = {0}, got[8];
	struct pair p;
	int file, again;

	for (unsigned surprise = 0; surprise < 2; surprise++) {
		up(&p);
		file = region_file(p.fd[1], &offset);
		assert_int_equal(client_map(p.fd[0], IOVA, MEMORY, file, offset), 0);
		memset(p.dev[0]->data, 0x5a, MEMORY);
		assert_int_equal(transfer(&p, IOVA, MEMORY, 2), 0);
		removed = false;
		if (surprise) {
			/* While its user still has it. */
			assert_int_equal(vfio_machine_remove_device(p.f.machine, "0000:02:00.0",
								    VFIO_REMOVE_SURPRISE,
								    note_removed, NULL, &err),
					 0);
			while (transfer(&p, IOVA, MEMORY, 2) != EIO)
				;
			wire_unlisten(p.listener[1]);
		} else {
			wire_unlisten(p.listener[1]);
			assert_int_equal(vfio_machine_remove_device(p.f.machine, "0000:02:00.0", 0,
								    note_removed, NULL, &err),
					 0);
		}
		while (client_receive(p.fd[1], &r) == 0)
			;
		close(p.fd[1]);
		while (!removed)
			sched_yield();
		assert_int_equal(transfer(&p, IOVA, MEMORY, 2), EIO);
		assert_int_equal(
			vfio_machine_add_device(p.f.machine, "wdev,addr=0000:02:00.0", &err), 0);
		wire_options_default(&options);
		assert_int_equal(
			wire_listen(p.f.server, "0000:02:00.0", -1, &options, &p.listener[1], &err),
			0);
		open_one(&p, 1);
		/* Neither the mapping nor the file is of the new one. */
		assert_int_equal(transfer(&p, IOVA, MEMORY, 2), EIO);
		assert_int_equal(client_map(p.fd[0], 2 * IOVA, MEMORY, file, offset), EFAULT);
		assert_int_equal(client_read(p.fd[1], 2, 0, got, 8), 0);
		assert_memory_equal(got, zeros, 8);
		again = region_file(p.fd[1], &offset);
		assert_int_equal(client_map(p.fd[0], 2 * IOVA, MEMORY, again, offset), 0);
		assert_int_equal(transfer(&p, 2 * IOVA, MEMORY, 2), 0);
		assert_int_equal(transfer(&p, IOVA, MEMORY, 2), EIO);
		assert_int_equal(client_unmap(p.fd[0], IOVA, MEMORY, 0, &size), 0);
		close(file);
		close(again);
		down(&p);
	}
}

/* ---- unmap what is under way ---- */

/* When unmap was answered nothing lands any more. */
static void unmap_is_a_barrier(void **state)
{
	uint8_t canary[64], got[64];
	uint64_t offset, size;
	struct pair p;
	int file;

	up(&p);
	file = region_file(p.fd[1], &offset);
	memset(p.dev[0]->data, 0x5a, MEMORY);
	memset(canary, 0xA5, sizeof(canary));
	for (unsigned i = 0; i < 300; i++) {
		uint32_t done = client_get(p.fd[0], W_DONE);

		assert_int_equal(client_map(p.fd[0], IOVA, MEMORY, file, offset), 0);
		client_put(p.fd[0], W_IOVA, IOVA, 8);
		client_put(p.fd[0], W_LEN, MEMORY, 4);
		client_put(p.fd[0], W_CMD, 2, 4);
		assert_int_equal(client_unmap(p.fd[0], IOVA, MEMORY, 0, &size), 0);
		for (unsigned at = 0; at < MEMORY; at += MEMORY / 8)
			assert_int_equal(client_write(p.fd[1], 2, at, canary, 64), 0);
		while (client_get(p.fd[0], W_DONE) == done)
			;
		for (unsigned at = 0; at < MEMORY; at += MEMORY / 8) {
			assert_int_equal(client_read(p.fd[1], 2, at, got, 64), 0);
			assert_memory_equal(got, canary, 64);
		}
	}
	close(file);
	down(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(file_is_cut),        cmocka_unit_test(without_end),
		cmocka_unit_test(owner_is_killed),    cmocka_unit_test(same_name),
		cmocka_unit_test(unmap_is_a_barrier),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
