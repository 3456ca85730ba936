/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include <uvfio/device.h>
#include "base/guard.h"
#include "guarded.h"

#define PAGE 4096

static sigjmp_buf elsewhere;
static volatile sig_atomic_t previous_calls, previous_blocked;
static void *volatile previous_addr;

/* The disposition before ours, installed by main(): leaves by jumping or by returning. */
static void previous_handler(int sig, siginfo_t *info, void *uc)
{
	sigset_t set;

	pthread_sigmask(SIG_SETMASK, NULL, &set);
	previous_blocked = sigismember(&set, SIGUSR2) && sigismember(&set, SIGBUS);
	previous_calls++;
	previous_addr = info->si_addr;
	if (info->si_code > 0)
		siglongjmp(elsewhere, 1);
}

/* @pages of a memfd of which only the first @live exist. */
static uint8_t *cut_memory(size_t pages, size_t live, int *fd)
{
	uint8_t *p;
	int f = memfd_create("cut", MFD_CLOEXEC);

	assert_true(f >= 0);
	assert_int_equal(ftruncate(f, pages * PAGE), 0);
	p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(ftruncate(f, live * PAGE), 0);
	if (fd)
		*fd = f;
	else
		close(f);
	return p;
}

/* Each length and alignment around the changes of method, with a fence of canaries. */
static void copies_every_length(void **state)
{
	static const size_t lens[] = {0,   1,   2,   3,   4,   5,   7,   8,   9,    12,  15,
				      16,  17,  24,  31,  32,  33,  63,  64,  65,   127, 128,
				      200, 255, 256, 257, 300, 511, 512, 513, 4096, 5000};
	uint8_t src[6000], dst[6000], want[6000];

	for (size_t i = 0; i < sizeof(src); i++)
		src[i] = i * 7 + i / 251;
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		for (size_t so = 0; so < 17; so += 3) {
			for (size_t to = 0; to < 17; to += 5) {
				memset(dst, 0xEE, sizeof(dst));
				memset(want, 0xEE, sizeof(want));
				memcpy(want + 64 + to, src + so, lens[i]);
				assert_int_equal(uvfio_guard_copy(dst + 64 + to, src + so, lens[i]),
						 0);
				assert_memory_equal(dst, want, sizeof(dst));
			}
		}
	}
}

static void copies_words(void **state)
{
	_Alignas(8) uint8_t src[6000], dst[6000], want[6000];

	for (size_t i = 0; i < sizeof(src); i++)
		src[i] = i * 7 + i / 251;
	for (size_t words = 0; words < 600; words += words < 20 ? 1 : 83) {
		for (size_t so = 0; so < 17; so += 5) {
			for (size_t to = 0; to < 17; to += 4) {
				memset(dst, 0xEE, sizeof(dst));
				memset(want, 0xEE, sizeof(want));
				memcpy(want + 64 + to, src + so, words * 8);
				assert_int_equal(
					uvfio_guard_copy_words(dst + 64 + to, src + so, words), 0);
				assert_memory_equal(dst, want, sizeof(dst));
			}
		}
	}
}

#define WORDS 512

static _Alignas(64) uint64_t shared_words[WORDS];
static atomic_bool words_stop;

/* Words whose bytes are all alike, from a buffer that is not aligned. */
static void *write_words(void *arg)
{
	uint8_t buf[WORDS * 8 + 3];

	for (int byte = 0; !atomic_load(&words_stop); byte++) {
		memset(buf, byte, sizeof(buf));
		assert_int_equal(uvfio_guard_copy_words(shared_words, buf + 3, WORDS), 0);
	}
	return NULL;
}

static void words_are_not_torn(void **state)
{
	uint8_t buf[WORDS * 8 + 5];
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, write_words, NULL), 0);
	for (unsigned i = 0; i < 3000; i++) {
		assert_int_equal(uvfio_guard_copy_words(buf + 5, shared_words, WORDS), 0);
		for (unsigned w = 0; w < WORDS; w++) {
			uint64_t value;

			memcpy(&value, buf + 5 + w * 8, sizeof(value));
			assert_int_equal(value, (value & 0xff) * 0x0101010101010101ull);
		}
	}
	atomic_store(&words_stop, true);
	pthread_join(thread, NULL);
}

static void fill_load_store(void **state)
{
	_Alignas(8) uint8_t buf[32] = {0};
	uint64_t v;

	assert_int_equal(uvfio_guard_fill(buf + 1, 0x1A5, 5), 0);
	assert_memory_equal(buf, "\0\xA5\xA5\xA5\xA5\xA5\0", 7);
	for (unsigned size = 1; size <= 8; size *= 2) {
		memset(buf, 0x11, sizeof(buf));
		assert_int_equal(uvfio_guard_store(buf + 8, size, 0x8877665544332211ull), 0);
		assert_int_equal(buf[7], 0x11);
		assert_int_equal(buf[8 + size], 0x11);
		v = ~0ull;
		assert_int_equal(uvfio_guard_load(buf + 8, size, &v), 0);
		assert_int_equal(v, size == 8 ? 0x8877665544332211ull
					      : 0x8877665544332211ull & ((1ull << size * 8) - 1));
	}
	assert_int_equal(uvfio_guard_load(buf, 3, &v), -EINVAL);
	assert_int_equal(uvfio_guard_store(buf, 16, 0), -EINVAL);
}

/* Every length, so every instruction that can fault, on both sides. */
static void gone_memory_is_efault(void **state)
{
	uint8_t *gone = cut_memory(2, 1, NULL) + PAGE, buf[8192] = {0};
	uint64_t v;

	guarded();
	for (size_t len = 1; len <= 300; len++) {
		assert_int_equal(uvfio_guard_copy(gone, buf, len), -EFAULT);
		assert_int_equal(uvfio_guard_copy(buf, gone, len), -EFAULT);
		/* Only the last byte is gone. */
		assert_int_equal(uvfio_guard_copy(gone - len + 1, buf, len), -EFAULT);
		assert_int_equal(uvfio_guard_copy(buf, gone - len + 1, len), -EFAULT);
		assert_int_equal(uvfio_guard_fill(gone - len + 1, 1, len), -EFAULT);
	}
	for (size_t words = 1; words <= 40; words++) {
		assert_int_equal(uvfio_guard_copy_words(gone, buf, words), -EFAULT);
		assert_int_equal(uvfio_guard_copy_words(gone - words * 8 + 8, buf, words), -EFAULT);
		assert_int_equal(uvfio_guard_copy_words(buf, gone - words * 8 + 1, words), -EFAULT);
		assert_int_equal(uvfio_guard_copy_words(buf, gone - words * 8, words), 0);
	}
	assert_int_equal(uvfio_guard_copy_words(gone, buf, 0), 0);
	assert_int_equal(uvfio_guard_copy(gone, buf, 0), 0);
	for (unsigned size = 1; size <= 8; size *= 2) {
		assert_int_equal(uvfio_guard_load(gone, size, &v), -EFAULT);
		assert_int_equal(uvfio_guard_store(gone, size, 1), -EFAULT);
		assert_int_equal(uvfio_guard_load(gone - 8, size, &v), 0);
	}
	assert_int_equal(uvfio_copy(buf, gone - 16, 17), -EFAULT);
	assert_int_equal(uvfio_copy(buf, gone - 16, 16), 0);
	munmap(gone - PAGE, 2 * PAGE);
}

#define COPIERS 3
#define PAGES   16

struct race {
	uint8_t *memory;
	atomic_bool stop;
	atomic_uint ok, gone, other;
};

static void *copier(void *arg)
{
	struct race *race = arg;
	static const size_t lens[] = {8, 100, PAGE, PAGES * PAGE};
	uint8_t *buf = malloc(PAGES * PAGE);

	assert_non_null(buf);
	memset(buf, 7, PAGES * PAGE);
	for (unsigned i = 0; !atomic_load(&race->stop); i++) {
		size_t len = lens[i % 4];
		uint8_t *at = race->memory + PAGES * PAGE - len;
		int rc = i & 4 ? uvfio_guard_copy(buf, at, len) : uvfio_guard_copy(at, buf, len);

		atomic_fetch_add(rc == 0         ? &race->ok
				 : rc == -EFAULT ? &race->gone
						 : &race->other,
				 1);
	}
	free(buf);
	return NULL;
}

static void truncated_while_threads_copy(void **state)
{
	struct race race = {0};
	pthread_t threads[COPIERS];
	int fd;

	guarded();
	race.memory = cut_memory(PAGES, PAGES, &fd);
	for (int i = 0; i < COPIERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, copier, &race), 0);
	while (atomic_load(&race.ok) < 2000 || atomic_load(&race.gone) < 2000) {
		assert_int_equal(ftruncate(fd, PAGE), 0);
		assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
	}
	atomic_store(&race.stop, true);
	for (int i = 0; i < COPIERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&race.other), 0);
	munmap(race.memory, PAGES * PAGE);
	close(fd);
}

static void fault_elsewhere_reaches_the_previous_handler(void **state)
{
	uint8_t *gone = cut_memory(1, 0, NULL);
	uint64_t v;

	guarded();
	previous_calls = 0;
	for (int i = 1; i <= 2; i++) {
		if (!sigsetjmp(elsewhere, 1)) {
			(void)*(volatile uint8_t *)(gone + 5);
			fail_msg("the read of memory that is gone did not fault");
		}
		assert_int_equal(previous_calls, i);
		assert_ptr_equal(previous_addr, gone + 5);
		assert_true(previous_blocked);
		assert_int_equal(uvfio_guard_load(gone, 4, &v), -EFAULT);
	}
	munmap(gone, PAGE);
}

static void sent_signal_reaches_the_previous_handler(void **state)
{
	guarded();
	previous_calls = 0;
	raise(SIGBUS);
	assert_int_equal(previous_calls, 1);
}

int main(void)
{
	struct sigaction sa = {.sa_sigaction = previous_handler, .sa_flags = SA_SIGINFO};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies_every_length),
		cmocka_unit_test(copies_words),
		cmocka_unit_test(words_are_not_torn),
		cmocka_unit_test(fill_load_store),
		cmocka_unit_test(gone_memory_is_efault),
		cmocka_unit_test(truncated_while_threads_copy),
		cmocka_unit_test(fault_elsewhere_reaches_the_previous_handler),
		cmocka_unit_test(sent_signal_reaches_the_previous_handler),
	};

	sigaddset(&sa.sa_mask, SIGUSR2);
	if (sigaction(SIGBUS, &sa, NULL))
		return 1;
	guarded_init();
	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
