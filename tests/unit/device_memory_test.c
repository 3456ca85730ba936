/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/vfio/device_memory.c: transfers whose memory is a BAR, of another device or of the same
 * (D.4).
 */
#include "p2p_fixture.h"

#define ALL (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)

/* What a read of the region says. */
static void memory_is(struct p2p *p, unsigned n, uint64_t off, const void *data, size_t len)
{
	uint8_t buf[8192];

	assert_int_equal(vfio_device_read(p->df[n], VFIO_REGION_OFFSET(2) + off, buf, len), len);
	assert_memory_equal(buf, data, len);
}

/* Both ways, into another device's memory and into its own, aligned or not. */
static void test_data(void **state)
{
	static const struct {
		uint32_t off, len;
	} table[] = {{0, 8192}, {0, 1}, {4095, 2}, {7, 4097}, {8191, 1}, {64, 64}, {3, 61}};
	struct p2p p;

	p2p_up(&p, "probe,memory=on", "probe,memory=on");
	for (unsigned n = 0; n < 2; n++) {
		uint64_t iova = IOVA_P2P + n * 0x10000;

		assert_int_equal(p2p_map(&p, iova, BAR_OF(n, 2), 8192, ALL), 0);
		for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
			uint32_t off = table[i].off, len = table[i].len;
			uint8_t data[8192];

			for (unsigned k = 0; k < len; k++)
				data[k] = p.probe[0]->buf[k] =
					(uint8_t)(k * 7 + i + n * 31 + k / 251);
			assert_int_equal(p2p_command(&p, 0, CMD_WRITE, iova + off, len), 0);
			memory_is(&p, n, off, data, len);
			memset(p.probe[0]->buf, 0xee, sizeof(p.probe[0]->buf));
			assert_int_equal(p2p_command(&p, 0, CMD_READ, iova + off, len), 0);
			assert_memory_equal(p.probe[0]->buf, data, len);
		}
	}
	p2p_down(&p);
}

/* Memory decode off and on again: a fault that lands nowhere, and then it works as before. */
static void test_memory_off(void **state)
{
	struct vfio_fault_record fault;
	const uint8_t zeros[16] = {0};
	uint64_t total;
	struct p2p p;

	p2p_up(&p, "probe,memory=on", "probe,memory=on");
	assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(1, 2), 8192, ALL), 0);
	memset(p.probe[0]->buf, 0x5a, 16);
	config_put(p2p_at(&p, 1), PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P, 16), -EIO);
	assert_int_equal(vfio_device_faults(p.dev[0], &fault, 1, &total), 1);
	assert_int_equal(fault.fault.reason, IOMMU_FAULT_REVOKED);
	assert_int_equal(fault.fault.iova, IOVA_P2P);
	assert_int_equal(fault.fault.len, 16);
	assert_true(fault.fault.write);
	/* Nor can it be mapped. */
	assert_int_equal(p2p_map(&p, 2 * IOVA_P2P, BAR_OF(1, 2), 8192, ALL), -EFAULT);
	config_put(p2p_at(&p, 1), PCI_COMMAND, 2, COMMAND_ON);
	memory_is(&p, 1, 0, zeros, 16);
	assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P, 16), 0);
	memory_is(&p, 1, 0, p.probe[0]->buf, 16);
	p2p_down(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_data),
		cmocka_unit_test(test_memory_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
