/* SPDX-License-Identifier: BSD-3-Clause */
/* uvfio_pci_irq_take(): never waits, whatever the other side did to the eventfd. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uvfio/driver.h>

static void signal_it(int fd, uint64_t count)
{
	assert_int_equal(write(fd, &count, sizeof(count)), sizeof(count));
}

static void takes(void **state)
{
	/* The two are one description, as in the program and in a server. */
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), servers = dup(fd);
	uint64_t count;

	assert_int_equal(uvfio_pci_irq_take(fd), 0);
	signal_it(servers, 1);
	signal_it(servers, 2);
	assert_int_equal(uvfio_pci_irq_take(fd), 3);
	assert_int_equal(uvfio_pci_irq_take(fd), 0);
	/* The server makes it wait, and takes the signal away. */
	assert_int_equal(fcntl(servers, F_SETFL, 0), 0);
	signal_it(servers, 1);
	assert_int_equal(read(servers, &count, sizeof(count)), sizeof(count));
	assert_int_equal(uvfio_pci_irq_take(fd), 0);
	signal_it(servers, UINT64_MAX - 1);
	assert_int_equal(uvfio_pci_irq_take(fd), INT64_MAX);
	close(servers);
	close(fd);
	assert_int_equal(uvfio_pci_irq_take(fd), -EBADF);
	assert_int_equal(uvfio_pci_irq_take(-1), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(takes)};

	alarm(30);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
