/* SPDX-License-Identifier: BSD-3-Clause */
/* Which interrupts are delivered, and when (A.8). */
#include "irq_fixture.h"

/* ---- ERR and REQ delivery ---- */

static void test_single_delivery(void **state)
{
	struct fixture f;
	uint8_t yes = 1, no = 0;

	start(&f, false);
	assert_false(irq_signal_err(f.set));
	assert_int_equal(set_fd(f.set, ERR, 0, f.efd[0]), 0);
	assert_int_equal(set_fd(f.set, REQ, 0, f.efd[1]), 0);
	assert_true(irq_signal_err(f.set));
	assert_int_equal(taken(f.efd[0]), 1);
	assert_int_equal(taken(f.efd[1]), 0);
	assert_int_equal(request(f.set, REQ, 0, 1, NONE | TRIGGER, NULL), 0);
	assert_int_equal(taken(f.efd[1]), 1);
	assert_int_equal(request(f.set, REQ, 0, 1, BOOL | TRIGGER, &no), 0);
	assert_int_equal(taken(f.efd[1]), 0);
	assert_int_equal(request(f.set, REQ, 0, 1, BOOL | TRIGGER, &yes), 0);
	assert_int_equal(taken(f.efd[1]), 1);
	assert_int_equal(set_fd(f.set, REQ, 0, f.efd[2]), 0);
	assert_true(irq_signal_req(f.set));
	assert_int_equal(taken(f.efd[1]), 0);
	assert_int_equal(taken(f.efd[2]), 1);
	assert_int_equal(irq_delivered(f.set, REQ, 0), 3);
	irq_disable_all(f.set);
	assert_false(irq_signal_req(f.set) || irq_signal_err(f.set));
	stop(&f);
}

/* ---- INTx delivery ---- */

static void mask(struct fixture *f)
{
	assert_int_equal(request(f->set, INTX, 0, 1, NONE | MASK, NULL), 0);
}

static void unmask(struct fixture *f)
{
	assert_int_equal(request(f->set, INTX, 0, 1, NONE | UNMASK, NULL), 0);
}

static void test_intx_delivery(void **state)
{
	struct fixture f;
	uint8_t no = 0;

	start(&f, false);
	irq_set_gate(f.set, false); /* bus mastering does not matter to INTx */
	irq_intx_level(f.set, true);
	assert_true(irq_intx_line(f.set));
	irq_intx_level(f.set, false);
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[0]), 0);
	assert_int_equal(taken(f.efd[0]), 0);

	/* Delivery automasks. */
	irq_intx_level(f.set, true);
	assert_int_equal(taken(f.efd[0]), 1);
	assert_true(irq_intx_masked(f.set));
	irq_intx_level(f.set, false);
	irq_intx_level(f.set, true);
	assert_int_equal(taken(f.efd[0]), 0);
	/* Still asserted at UNMASK: fires again and stays masked. */
	unmask(&f);
	assert_int_equal(taken(f.efd[0]), 1);
	irq_intx_level(f.set, false);
	unmask(&f);
	assert_int_equal(taken(f.efd[0]), 0);
	assert_false(irq_intx_masked(f.set));

	/* MASK, and BOOL 0 does nothing. */
	assert_int_equal(request(f.set, INTX, 0, 1, BOOL | MASK, &no), 0);
	irq_intx_level(f.set, true);
	assert_int_equal(taken(f.efd[0]), 1);
	assert_int_equal(request(f.set, INTX, 0, 1, BOOL | UNMASK, &no), 0);
	assert_int_equal(taken(f.efd[0]), 0);
	irq_intx_level(f.set, false);
	unmask(&f);
	mask(&f);
	irq_intx_level(f.set, true);
	assert_int_equal(taken(f.efd[0]), 0);

	/* Loopback signals even while masked; BOOL 0 does not. */
	assert_int_equal(request(f.set, INTX, 0, 1, NONE | TRIGGER, NULL), 0);
	assert_int_equal(taken(f.efd[0]), 1);
	assert_int_equal(request(f.set, INTX, 0, 1, BOOL | TRIGGER, &no), 0);
	assert_int_equal(taken(f.efd[0]), 0);

	/* Swapping goes on with the same mask state. */
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[1]), 0);
	assert_int_equal(taken(f.efd[1]), 0);
	unmask(&f);
	assert_int_equal(taken(f.efd[1]), 1);
	assert_int_equal(taken(f.efd[0]), 0);

	/* Without an eventfd it automasks silently. */
	irq_intx_level(f.set, false);
	unmask(&f);
	assert_int_equal(set_fd(f.set, INTX, 0, -1), 0);
	irq_intx_level(f.set, true);
	assert_true(irq_intx_masked(f.set));
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[1]), 0);
	assert_int_equal(taken(f.efd[1]), 0);
	unmask(&f);
	assert_int_equal(taken(f.efd[1]), 1);

	/* Off and on: starts unmasked, and an asserted line fires at once. */
	assert_int_equal(request(f.set, INTX, 0, 0, NONE | TRIGGER, NULL), 0);
	irq_intx_level(f.set, true);
	assert_int_equal(taken(f.efd[1]), 0);
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[2]), 0);
	assert_int_equal(taken(f.efd[2]), 1);
	stop(&f);
}

/* A.8: there is one mask state. */
static void test_intx_virtual_disable(void **state)
{
	struct fixture f;

	start(&f, false);
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[0]), 0);
	irq_intx_disable(f.set, true);
	assert_true(irq_intx_masked(f.set));
	irq_intx_level(f.set, true);
	assert_int_equal(taken(f.efd[0]), 0);
	unmask(&f); /* a no-op */
	assert_int_equal(taken(f.efd[0]), 0);
	assert_true(irq_intx_masked(f.set));
	assert_int_equal(request(f.set, INTX, 0, 1, NONE | TRIGGER, NULL), 0);
	assert_int_equal(taken(f.efd[0]), 0); /* no loopback either */
	irq_intx_disable(f.set, false);
	assert_int_equal(taken(f.efd[0]), 1);

	/* Clearing it unmasks what MASK had masked. */
	irq_intx_level(f.set, false);
	unmask(&f);
	mask(&f);
	irq_intx_disable(f.set, true);
	irq_intx_disable(f.set, false);
	assert_false(irq_intx_masked(f.set));
	/* … but writing the same value again changes nothing. */
	mask(&f);
	irq_intx_disable(f.set, false);
	assert_true(irq_intx_masked(f.set));

	/* Enabling while it is set starts masked. */
	assert_int_equal(request(f.set, INTX, 0, 0, NONE | TRIGGER, NULL), 0);
	irq_intx_level(f.set, true);
	irq_intx_disable(f.set, true);
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[0]), 0);
	assert_int_equal(taken(f.efd[0]), 0);
	irq_intx_disable(f.set, false);
	assert_int_equal(taken(f.efd[0]), 1);

	/* Hardware DisINTx while INTx is not the mode. */
	assert_int_equal(request(f.set, INTX, 0, 0, NONE | TRIGGER, NULL), 0);
	irq_intx_disable(f.set, true);
	assert_true(irq_intx_masked(f.set));
	irq_intx_disable(f.set, false);
	assert_false(irq_intx_masked(f.set));
	assert_int_equal(set_fd(f.set, MSI, 0, f.efd[0]), 0);
	assert_true(irq_intx_masked(f.set));
	assert_int_equal(request(f.set, MSI, 0, 0, NONE | TRIGGER, NULL), 0);
	assert_false(irq_intx_masked(f.set));
	stop(&f);
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

/* Wait until @fd is readable, and take it. */
static uint64_t await(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&pfd, 1, 10000), 1);
	return taken(fd);
}

static void test_intx_unmask_eventfd(void **state)
{
	unsigned before = open_fds();
	struct fixture f;
	int32_t fd;
	int other;

	start(&f, false);
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[0]), 0);
	irq_intx_level(f.set, true);
	assert_int_equal(taken(f.efd[0]), 1);

	/* A counter that is already non-zero acts at once but is not read. */
	signal_fd(f.efd[1]);
	fd = f.efd[1];
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &fd), 0);
	assert_int_equal(taken(f.efd[0]), 1);
	uvfio_ctx_flush(f.ctx);
	assert_int_equal(taken(f.efd[1]), 1);

	/* Later signals are consumed, and unmask each time. */
	for (unsigned i = 0; i < 100; i++) {
		signal_fd(f.efd[1]);
		assert_int_equal(await(f.efd[0]), 1);
		assert_int_equal(taken(f.efd[1]), 0);
	}
	uvfio_ctx_flush(f.ctx);
	assert_int_equal(irq_delivered(f.set, INTX, 0), 102);

	/* Removed: signals do nothing. */
	fd = -1;
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &fd), 0);
	signal_fd(f.efd[1]);
	uvfio_ctx_flush(f.ctx);
	assert_int_equal(taken(f.efd[1]), 1);
	assert_int_equal(taken(f.efd[0]), 0);

	/* The client closes it: its number is free or stands for another file, so it is forgotten.
	 */
	other = make_eventfd();
	fd = other;
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &fd), 0);
	fd = f.efd[2];
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &fd), -EBUSY);
	fd = dup(other); /* the same eventfd under another number */
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &fd), -EBUSY);
	close(fd);
	close(other);
	fd = f.efd[2];
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &fd), 0);
	fd = dup(f.efd[3]);
	assert_int_equal(dup2(fd, f.efd[2]), f.efd[2]);
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &f.efd[2]), 0);
	close(fd);
	signal_fd(f.efd[3]);
	assert_int_equal(await(f.efd[0]), 1);

	/* Disabling INTx removes it. */
	assert_int_equal(request(f.set, INTX, 0, 0, NONE | TRIGGER, NULL), 0);
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[0]), 0);
	assert_int_equal(taken(f.efd[0]), 1);
	signal_fd(f.efd[3]);
	uvfio_ctx_flush(f.ctx);
	assert_int_equal(taken(f.efd[0]), 0);
	fd = f.efd[4];
	assert_int_equal(request(f.set, INTX, 0, 1, EVENTFD | UNMASK, &fd), 0);
	stop(&f);
	assert_int_equal(open_fds(), before);
}

/* ---- MSI and MSI-X delivery ---- */

static void test_positive_return(void **state)
{
	int32_t fds[4];
	struct fixture f;

	start(&f, false);
	for (unsigned i = 0; i < 4; i++)
		fds[i] = f.efd[i];
	f.dev.granted = 3;
	assert_int_equal(request(f.set, MSIX, 0, 4, EVENTFD | TRIGGER, fds), 3);
	assert_int_equal(request(f.set, MSI, 4, 4, EVENTFD | TRIGGER, fds), 3);
	assert_int_equal(irq_active(f.set, NULL), -1);
	assert_int_equal(f.dev.changes, 0);
	assert_int_equal(request(f.set, MSIX, 0, 3, EVENTFD | TRIGGER, fds), 0);
	stop(&f);
}

static void test_power(void **state)
{
	struct fixture f;

	start(&f, true);
	f.dev.d0 = false;
	assert_int_equal(set_fd(f.set, MSIX, 0, f.efd[0]), -EINVAL);
	assert_int_equal(set_fd(f.set, MSI, 0, f.efd[0]), -EINVAL);
	assert_int_equal(request(f.set, MSI, 0, 0, EVENTFD | TRIGGER, NULL), -ERANGE);
	f.dev.d0 = true;
	assert_int_equal(set_fd(f.set, MSIX, 0, f.efd[0]), 0);
	f.dev.d0 = false; /* once active it does not matter */
	assert_int_equal(set_fd(f.set, MSIX, 0, f.efd[1]), 0);
	stop(&f);
}

/* A.8: vectors from start up to and including the failing one are deassigned, later ones keep their
 * eventfds. */
static void test_error_inside_block(void **state)
{
	int32_t fds[6];
	struct fixture f;

	start(&f, false);
	for (unsigned i = 0; i < 6; i++)
		fds[i] = f.efd[i];
	assert_int_equal(request(f.set, MSIX, 0, 6, EVENTFD | TRIGGER, fds), 0);
	fds[1] = f.efd[10];
	fds[2] = f.bad;
	fds[3] = f.efd[11];
	assert_int_equal(request(f.set, MSIX, 1, 4, EVENTFD | TRIGGER, fds + 1), -EBADF);
	assert_int_equal(irq_active(f.set, NULL), MSIX);
	for (unsigned i = 0; i < 6; i++)
		irq_raise(f.set, i);
	assert_int_equal(taken(f.efd[0]), 1);
	assert_int_equal(taken(f.efd[1]) + taken(f.efd[10]), 0);
	assert_int_equal(taken(f.efd[2]), 0);
	assert_int_equal(taken(f.efd[11]), 0);
	assert_int_equal(taken(f.efd[3]), 1);
	assert_int_equal(taken(f.efd[4]), 1);
	assert_int_equal(taken(f.efd[5]), 1);
	/* What was raised meanwhile is pending, and fires with the next eventfd. */
	assert_int_equal(irq_msix_pba_read(f.set, 0), 6);
	assert_int_equal(set_fd(f.set, MSIX, 1, f.efd[1]), 0);
	assert_int_equal(taken(f.efd[1]), 1);
	assert_int_equal(irq_msix_pba_read(f.set, 0), 4);
	stop(&f);
}

static void test_loopback(void **state)
{
	static const uint8_t bools[3] = {0, 1, 1};
	int32_t fds[3];
	struct fixture f;

	for (unsigned index = MSI; index <= MSIX; index++) {
		start(&f, false);
		fds[0] = f.efd[0];
		fds[1] = -1;
		fds[2] = f.efd[2];
		assert_int_equal(request(f.set, index, 0, 3, EVENTFD | TRIGGER, fds), 0);
		irq_set_gate(f.set, false); /* loopback is the host's */
		assert_int_equal(request(f.set, index, 0, 3, NONE | TRIGGER, NULL), 0);
		assert_int_equal(taken(f.efd[0]), 1);
		assert_int_equal(taken(f.efd[2]), 1);
		assert_int_equal(request(f.set, index, 0, 3, BOOL | TRIGGER, bools), 0);
		assert_int_equal(taken(f.efd[0]), 0);
		assert_int_equal(taken(f.efd[2]), 1);
		stop(&f);
	}
}

static void test_pending(void **state)
{
	int32_t fds[64];
	struct fixture f;

	start(&f, true);
	for (unsigned i = 0; i < 64; i++)
		fds[i] = f.efd[i];

	/* No mode: nothing happens. */
	irq_raise(f.set, 0);
	assert_int_equal(request(f.set, MSIX, 0, 64, EVENTFD | TRIGGER, fds), 0);
	assert_int_equal(taken(f.efd[0]), 0);

	/* The gate: pending while it is closed, each fires once when it opens. */
	irq_set_gate(f.set, false);
	irq_raise(f.set, 3);
	irq_raise(f.set, 3);
	irq_raise(f.set, 63);
	assert_int_equal(irq_msix_pba_read(f.set, 0), 1ull << 3 | 1ull << 63);
	assert_int_equal(irq_msix_pba_read(f.set, 8), 0);
	assert_int_equal(irq_msix_pba_read(f.set, 4), 0);
	assert_int_equal(taken(f.efd[3]), 0);
	irq_set_gate(f.set, true);
	assert_int_equal(taken(f.efd[3]), 1);
	assert_int_equal(taken(f.efd[63]), 1);
	assert_int_equal(irq_msix_pba_read(f.set, 0), 0);

	/* Deassigned: pending; -1 again keeps it; fires with the next eventfd. */
	assert_int_equal(set_fd(f.set, MSIX, 7, -1), 0);
	irq_raise(f.set, 7);
	assert_int_equal(set_fd(f.set, MSIX, 7, -1), 0);
	assert_int_equal(set_fd(f.set, MSIX, 7, f.efd[8]), 0);
	assert_int_equal(taken(f.efd[8]), 1);
	assert_int_equal(taken(f.efd[7]), 0);

	/* Reset clears pending bits; triggers stay. */
	irq_set_gate(f.set, false);
	irq_raise(f.set, 1);
	irq_reset(f.set);
	irq_set_gate(f.set, true);
	assert_int_equal(taken(f.efd[1]), 0);
	irq_raise(f.set, 1);
	assert_int_equal(taken(f.efd[1]), 1);

	/* Disabling forgets what was pending. */
	irq_set_gate(f.set, false);
	irq_raise(f.set, 1);
	assert_int_equal(request(f.set, MSIX, 0, 0, NONE | TRIGGER, NULL), 0);
	irq_set_gate(f.set, true);
	assert_int_equal(request(f.set, MSIX, 0, 64, EVENTFD | TRIGGER, fds), 0);
	assert_int_equal(taken(f.efd[1]), 0);

	/* Not granted: refused and counted. */
	assert_int_equal(irq_dropped(f.set), 0);
	irq_raise(f.set, 64);
	irq_raise(f.set, UINT32_MAX);
	assert_int_equal(irq_dropped(f.set), 2);
	assert_int_equal(irq_delivered(f.set, MSIX, 1), 1);
	stop(&f);
}

static void test_msi_hardware(void **state)
{
	int32_t fds[4];
	unsigned log2;
	struct fixture f;

	start(&f, false);
	for (unsigned i = 0; i < 4; i++)
		fds[i] = f.efd[i];
	assert_false(irq_msi_active(f.set, &log2));
	assert_int_equal(log2, 0);
	assert_int_equal(request(f.set, MSI, 0, 3, EVENTFD | TRIGGER, fds), 0);
	assert_true(irq_msi_active(f.set, &log2));
	assert_int_equal(log2, 2);
	irq_raise(f.set, 2);
	assert_int_equal(taken(f.efd[2]), 1);
	irq_raise(f.set, 3); /* not allocated */
	assert_int_equal(irq_dropped(f.set), 1);

	/* The mask dword and the enable bit hold back. */
	irq_msi_config(f.set, true, 1 << 1);
	irq_raise(f.set, 1);
	irq_raise(f.set, 0);
	assert_int_equal(taken(f.efd[0]), 1);
	assert_int_equal(taken(f.efd[1]), 0);
	assert_int_equal(irq_msi_pending(f.set), 2);
	irq_msi_config(f.set, false, 0);
	irq_raise(f.set, 0);
	assert_int_equal(irq_msi_pending(f.set), 3);
	irq_msi_config(f.set, true, 0);
	assert_int_equal(taken(f.efd[0]), 1);
	assert_int_equal(taken(f.efd[1]), 1);
	assert_int_equal(irq_msi_pending(f.set), 0);

	/* The last allocation is remembered after a disable, until the last close. */
	assert_int_equal(request(f.set, MSI, 0, 0, NONE | TRIGGER, NULL), 0);
	assert_false(irq_msi_active(f.set, &log2));
	assert_int_equal(log2, 2);
	irq_disable_all(f.set);
	irq_msi_active(f.set, &log2);
	assert_int_equal(log2, 0);
	stop(&f);
}

static void test_msix_table(void **state)
{
	struct fixture f;

	start(&f, true);
	/* Reset: masked, which holds nothing back. */
	assert_int_equal(irq_msix_table_read(f.set, 12), 1);
	assert_int_equal(irq_msix_table_read(f.set, 0), 0);
	assert_int_equal(set_fd(f.set, MSIX, 0, f.efd[0]), 0);
	irq_raise(f.set, 0);
	assert_int_equal(taken(f.efd[0]), 1);
	/* The host wrote the entry. */
	assert_int_equal(irq_msix_table_read(f.set, 12), 0);
	assert_int_equal(irq_msix_table_read(f.set, 0), 0xfee00000);
	assert_int_equal(irq_msix_table_read(f.set, 12 + 16), 1);

	/* The client masks: pending; unmasks: fires. */
	irq_msix_table_write(f.set, 12, 0xffffffff);
	assert_int_equal(irq_msix_table_read(f.set, 12), 1);
	irq_raise(f.set, 0);
	assert_int_equal(taken(f.efd[0]), 0);
	assert_int_equal(irq_msix_pba_read(f.set, 0), 1);
	irq_msix_table_write(f.set, 12, 0);
	assert_int_equal(taken(f.efd[0]), 1);
	assert_int_equal(irq_msix_pba_read(f.set, 0), 0);

	/* Messages are kept, and rewritten when the eventfd is set; the mask goes too. */
	irq_msix_table_write(f.set, 0, 0x12345677);
	irq_msix_table_write(f.set, 8, 99);
	assert_int_equal(irq_msix_table_read(f.set, 0), 0x12345674);
	irq_msix_table_write(f.set, 12, 1);
	irq_raise(f.set, 0);
	assert_int_equal(set_fd(f.set, MSIX, 0, f.efd[1]), 0);
	assert_int_equal(irq_msix_table_read(f.set, 0), 0xfee00000);
	assert_int_equal(irq_msix_table_read(f.set, 8), 0);
	assert_int_equal(taken(f.efd[1]), 1);

	/* A reset takes the client's mask back. */
	irq_msix_table_write(f.set, 12, 1);
	irq_reset(f.set);
	assert_int_equal(irq_msix_table_read(f.set, 12), 0);
	irq_raise(f.set, 0);
	assert_int_equal(taken(f.efd[1]), 1);

	/* Deassigning masks the entry. */
	assert_int_equal(set_fd(f.set, MSIX, 0, -1), 0);
	assert_int_equal(irq_msix_table_read(f.set, 12), 1);

	/* Outside. */
	irq_msix_table_write(f.set, 64 * 16, 1);
	irq_msix_table_write(f.set, 64 * 16 - 2, 1);
	assert_int_equal(irq_msix_table_read(f.set, 64 * 16), 0);
	assert_int_equal(irq_msix_table_read(f.set, UINT32_MAX - 3), 0);
	stop(&f);
}

/* A client that fills its eventfd's counter delays nobody. */
static void test_full_eventfd(void **state)
{
	uint64_t full = UINT64_MAX - 1;
	struct fixture f;
	int blocking;

	start(&f, true);
	blocking = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(set_fd(f.set, MSIX, 0, blocking), 0);
	assert_int_equal(set_fd(f.set, MSIX, 1, f.efd[1]), 0);
	assert_int_equal(write(blocking, &full, sizeof(full)), sizeof(full));
	for (unsigned i = 0; i < 1000; i++)
		irq_raise(f.set, 0);
	assert_int_equal(irq_dropped(f.set), 1000);
	irq_raise(f.set, 1);
	assert_int_equal(taken(f.efd[1]), 1);
	/* Once it is taken, it works again. */
	assert_int_equal(taken(blocking), full);
	irq_raise(f.set, 0);
	assert_int_equal(taken(blocking), 1);
	close(blocking);
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_single_delivery),
		cmocka_unit_test(test_intx_delivery),
		cmocka_unit_test(test_intx_virtual_disable),
		cmocka_unit_test(test_intx_unmask_eventfd),
		cmocka_unit_test(test_positive_return),
		cmocka_unit_test(test_power),
		cmocka_unit_test(test_error_inside_block),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_pending),
		cmocka_unit_test(test_msi_hardware),
		cmocka_unit_test(test_msix_table),
		cmocka_unit_test(test_full_eventfd),
	};

	return cmocka_run_group_tests_name("irq_delivery", tests, NULL, NULL);
}
