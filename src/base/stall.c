/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stall guard.
 *
 * Theory of operation.  Each thread that uses brackets has a slot with one word: a number that
 * counts brackets, and two bits.
 *
 *      OUTSIDE ──enter──▶ INSIDE ──watchdog──▶ INSIDE|SIGNALLED
 *         ▲                │  ▲                     │
 *         └─────leave──────┘  └──signal handler─────┘
 *
 * The watchdog looks at all slots every TICK.  A thread that it finds in the same bracket for
 * STALL_TICKS ticks gets the SIGNALLED bit and then the signal.  The handler, in that thread, takes
 * the bit away.
 *
 * - The signal may come just before the system call begins, which then blocks all the same.  The
 * bit is gone by then and the bracket is still the same, so the next tick signals again, until the
 *   thread leaves.
 * - Only the handler takes SIGNALLED away, and leave() waits for that.  So no signal is on its way
 *   when a bracket has ended, and no other system call of the thread fails with EINTR because of
 * us.
 *
 * The watchdog sleeps without an end when no bracket was entered for IDLE_TICKS ticks.  It
 * announces that and then looks at all slots once more; enter() marks its slot and then looks at
 * the announcement (both sequentially consistent).  So either the watchdog sees the bracket, or
 * enter() wakes it: no bracket begins unwatched.
 *
 * Locks: @lock guards the list of slots and the start of the watchdog.  The child of a fork has no
 * watchdog and starts its own.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "base/stall.h"
#include "base/thread.h"
#include "base/tsan.h"

#define STALL_SIGNAL SIGURG
#define TICK_NS      5000000
#define STALL_TICKS  2
#define IDLE_TICKS   20

#define INSIDE       1u
#define SIGNALLED    2u
#define NUMBER       4u /* brackets are counted in steps of this */

struct slot {
	_Atomic uint64_t word;
	volatile sig_atomic_t interrupted; /* the thread's own */
	bool registered;                   /* the thread's own */
	/* Under @lock. */
	pid_t tid;
	struct slot *next, **link;
	uint64_t seen;  /* the word at the last tick, without SIGNALLED */
	unsigned ticks; /* how often it was the same bracket */
};

enum watchdog { WATCHDOG_NONE, WATCHDOG_ASLEEP, WATCHDOG_AWAKE };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slot *slots;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static struct sigaction previous;
static atomic_uint watchdog;

/* Static, so that the handler finds it without an allocation. */
static _Thread_local struct slot slot __attribute__((tls_model("initial-exec")));

static void on_signal(int sig, siginfo_t *info, void *uc)
{
	int saved = errno;

	if (atomic_load(&slot.word) & SIGNALLED) {
		slot.interrupted = 1;
		atomic_fetch_and(&slot.word, ~(uint64_t)SIGNALLED);
	} else if (previous.sa_flags & SA_SIGINFO) {
		previous.sa_sigaction(sig, info, uc);
	} else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
		previous.sa_handler(sig);
	}
	errno = saved;
}

/* ---- the watchdog ---- */

/* One look at all slots: true when a bracket was entered since the last one, or one is open. */
static bool look(bool count)
{
	bool active = false;

	pthread_mutex_lock(&lock);
	for (struct slot *s = slots; s; s = s->next) {
		uint64_t word = atomic_load(&s->word), bare = word & ~(uint64_t)SIGNALLED;
		bool same = bare == s->seen;

		if (!same || (bare & INSIDE))
			active = true;
		if (!count)
			continue;
		s->seen = bare;
		s->ticks = same && (bare & INSIDE) ? s->ticks + 1 : 0;
		if (s->ticks < STALL_TICKS)
			continue;
		if (atomic_compare_exchange_strong(&s->word, &bare, bare | SIGNALLED))
			syscall(SYS_tgkill, getpid(), s->tid, STALL_SIGNAL);
#ifdef UVFIO_TSAN
		/* ThreadSanitizer may hold back the handler of a signal that came just before the
		 * system call.  Interrupt that too, at the price of a late EINTR in its builds. */
		else if (bare & SIGNALLED)
			syscall(SYS_tgkill, getpid(), s->tid, STALL_SIGNAL);
#endif
	}
	pthread_mutex_unlock(&lock);
	return active;
}

static void *watchdog_main(void *arg)
{
	const struct timespec tick = {0, TICK_NS};
	unsigned idle = 0;

	for (;;) {
		clock_nanosleep(CLOCK_MONOTONIC, 0, &tick, NULL);
		idle = look(true) ? 0 : idle + 1;
		if (idle < IDLE_TICKS)
			continue;
		atomic_store(&watchdog, WATCHDOG_ASLEEP);
		if (look(false))
			atomic_store(&watchdog, WATCHDOG_AWAKE);
		while (atomic_load(&watchdog) == WATCHDOG_ASLEEP)
			syscall(SYS_futex, &watchdog, FUTEX_WAIT_PRIVATE, WATCHDOG_ASLEEP, NULL,
				NULL, 0);
		idle = 0;
	}
	return NULL;
}

static void start_watchdog(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_mutex_lock(&lock);
	if (atomic_load(&watchdog) == WATCHDOG_NONE && !pthread_attr_init(&attr)) {
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		/* Without a thread this bracket is not watched; the next one tries again. */
		if (!uvfio_thread_create(&thread, &attr, watchdog_main, NULL)) {
			pthread_setname_np(thread, "uvfio-stall");
			atomic_store(&watchdog, WATCHDOG_AWAKE);
		}
		pthread_attr_destroy(&attr);
	}
	pthread_mutex_unlock(&lock);
}

static __attribute__((noinline, cold)) void wake_watchdog(void)
{
	unsigned asleep = WATCHDOG_ASLEEP;

	if (atomic_compare_exchange_strong(&watchdog, &asleep, WATCHDOG_AWAKE))
		syscall(SYS_futex, &watchdog, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	else if (asleep == WATCHDOG_NONE)
		start_watchdog();
}

/* ---- threads and forks ---- */

static void link_slot(void)
{
	slot.tid = syscall(SYS_gettid);
	slot.seen = atomic_load(&slot.word);
	slot.ticks = 0;
	slot.next = slots;
	slot.link = &slots;
	if (slots)
		slots->link = &slot.next;
	slots = &slot;
}

static void thread_exit(void *value)
{
	pthread_mutex_lock(&lock);
	*slot.link = slot.next;
	if (slot.next)
		slot.next->link = slot.link;
	pthread_mutex_unlock(&lock);
	slot.registered = false;
}

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

static void after_fork_in_child(void)
{
	slots = NULL; /* the other threads are not in the child */
	if (slot.registered)
		link_slot();
	atomic_store(&watchdog, WATCHDOG_NONE);
	pthread_mutex_unlock(&lock);
}

static void init(void)
{
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	sigemptyset(&sa.sa_mask);
	/* None of these can fail but for want of memory or keys at the start of the process. */
	if (pthread_key_create(&key, thread_exit) ||
	    pthread_atfork(before_fork, after_fork, after_fork_in_child) ||
	    sigaction(STALL_SIGNAL, NULL, &previous) || sigaction(STALL_SIGNAL, &sa, NULL))
		abort();
}

static __attribute__((noinline, cold)) void register_thread(void)
{
	sigset_t set;

	pthread_once(&once, init);
	sigemptyset(&set);
	sigaddset(&set, STALL_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	pthread_mutex_lock(&lock);
	link_slot();
	pthread_mutex_unlock(&lock);
	slot.registered = true;
	if (pthread_setspecific(key, &slot))
		abort(); /* the list would keep the slot of a thread that is gone */
}

/* ---- the bracket ---- */

void uvfio_stall_enter(void)
{
	uint64_t word;

	if (__builtin_expect(!slot.registered, 0))
		register_thread();
	slot.interrupted = 0;
	/* Outside, the word is the thread's own. */
	word = atomic_load_explicit(&slot.word, memory_order_relaxed);
	atomic_store(&slot.word, (word + NUMBER) | INSIDE);
	if (__builtin_expect(atomic_load(&watchdog) != WATCHDOG_AWAKE, 0))
		wake_watchdog();
}

/* The signal has been or is just being sent: wait for the handler. */
static __attribute__((noinline, cold)) void await_signal(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, STALL_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	while (atomic_load(&slot.word) & SIGNALLED)
		sched_yield();
}

bool uvfio_stall_leave(void)
{
	uint64_t word = atomic_load_explicit(&slot.word, memory_order_relaxed);

	for (;;) {
		if (__builtin_expect(word & SIGNALLED, 0)) {
			await_signal();
			word = atomic_load(&slot.word);
		} else if (atomic_compare_exchange_weak(&slot.word, &word,
							word & ~(uint64_t)INSIDE)) {
			return slot.interrupted;
		}
	}
}

/*
 * write(2) without the C library, whose wrapper is a cancellation point and pays two locked
 * instructions for it in a program with threads.  The count or -errno.
 */
static inline ssize_t bare_write(int fd, const void *buf, size_t len)
{
#if defined(__x86_64__) && !defined(UVFIO_TSAN) /* which wants to see the call */
	ssize_t ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"((long)SYS_write), "D"((long)fd), "S"(buf), "d"(len)
			 : "rcx", "r11", "memory");
	return ret;
#else
	ssize_t ret = write(fd, buf, len);

	return ret < 0 ? -errno : ret;
#endif
}

int uvfio_eventfd_signal(int fd)
{
	const uint64_t one = 1;

	for (;;) {
		bool interrupted;
		ssize_t n;
		int error;

		uvfio_stall_enter();
		n = bare_write(fd, &one, sizeof(one));
		error = n < 0 ? (int)-n : 0;
		interrupted = uvfio_stall_leave();
		if (n == sizeof(one))
			return 0;
		if (n >= 0)
			return -EINVAL; /* not an eventfd */
		if (error != EINTR)
			return -error;
		if (interrupted)
			return -EAGAIN;
	}
}
