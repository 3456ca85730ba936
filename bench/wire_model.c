/* SPDX-License-Identifier: BSD-3-Clause */
#include <sys/mman.h>
#include <unistd.h>
#include <uvfio/device.h>

#include "bench.h"
#include "iommu/space_private.h"
#include "vfio/machine_private.h"
#include "wire_model.h"

/* ---- translations ---- */

#define LOOKUPS (1u << 18)

uint64_t wire_bench_iova(unsigned i)
{
	/* Every other page, in an order that is not the file's. */
	return (1ull << 40) + wire_bench_offset(i);
}

uint64_t wire_bench_offset(unsigned i)
{
	return (uint64_t)i * 2654435761u % (1u << 21) * 2 * IOMMU_PAGE_SIZE;
}

/* Picoseconds for one of random IOVAs of the first @n. */
static uint64_t translate(struct iommu_space *space, unsigned n)
{
	uint64_t *queries = calloc(LOOKUPS, sizeof(*queries)), seed = 7, start, sum = 0,
		 missing = 0;

	for (unsigned i = 0; i < LOOKUPS; i++)
		queries[i] = wire_bench_iova((unsigned)(bench_random(&seed) % n));
	start = bench_ns();
	for (unsigned i = 0; i < LOOKUPS; i++) {
		struct tree_entry entry;

		uvfio_rcu_read_lock();
		if (space_lookup(space, NULL, queries[i] >> PAGE_BITS, &entry))
			sum += (uintptr_t)entry_host(&entry);
		else
			missing++;
		uvfio_rcu_read_unlock();
	}
	start = bench_ns() - start;
	bench_keep(sum);
	free(queries);
	return missing ? UINT64_MAX : start * 1000 / LOOKUPS;
}

/* The same for mappings that were made without messages. */
static uint64_t translate_own(unsigned n)
{
	struct iommu_space *space = iommu_space_new(n);
	int fd = memfd_create("bench", MFD_CLOEXEC);
	uint64_t ps = UINT64_MAX;

	if (space && fd >= 0 && !ftruncate(fd, (off_t)(IOMMU_PAGE_SIZE << 22))) {
		for (unsigned i = 0; i < n; i++) {
			struct iommu_mem mem = {
				IOMMU_MEM_FILE,  fd,     wire_bench_offset(i),
				IOMMU_PAGE_SIZE, {1, 1}, 4096,
			};

			iommu_map(space, wire_bench_iova(i), IOMMU_PAGE_SIZE, 3, &mem, 1);
		}
		ps = translate(space, n);
	}
	iommu_space_free(space);
	close(fd);
	return ps;
}

/* ---- the model ---- */

static int model_create(struct uvfio_device *dev, const struct uvfio_args *args, void **priv,
			struct uvfio_error *err)
{
	static const struct uvfio_area regs[] = {{0, 4096, UVFIO_AREA_REGISTERS, 0}};
	static const struct uvfio_area memory[] = {{0, 2 * BIG, UVFIO_AREA_MEMORY, 0}};
	struct uvfio_pci_desc desc = {
		.vendor = 0x1b36,
		.device = 0x0044,
		.class_code = 0xff0000,
		.bars[0] = {4096, 0, regs, 1},
		.bars[2] = {2 * BIG, 0, memory, 1},
		.bars[4] = {65536, 0, NULL, 0},
		.msix_vectors = VECTORS,
		.msix_bar = 4,
		.msix_pba = 32768,
		.pcie = true,
		.flr = true,
	};

	*priv = dev;
	return uvfio_device_init(dev, &desc, err);
}

static void model_destroy(void *priv)
{
}

static void model_write(void *priv, unsigned bar, uint64_t off, unsigned size, uint64_t value)
{
	struct vfio_device *dev = priv;

	if (off == WIRE_TRANSLATE)
		uvfio_reg_set(priv, 0, WIRE_RESULT, 8,
			      translate(atomic_load(&dev->space), (unsigned)value));
	else if (off == WIRE_TRANSLATE_OWN)
		uvfio_reg_set(priv, 0, WIRE_RESULT, 8, translate_own((unsigned)value));
	else
		uvfio_reg_set(priv, 0, off, size, value);
}

static bool model_work(void *priv)
{
	return false;
}

static void model_quiesce(void *priv)
{
	uvfio_quiesced(priv);
}

static void model_reset(void *priv, enum uvfio_reset_kind kind)
{
}

const struct uvfio_model wire_bench_model = {
	.abi = UVFIO_DEVICE_ABI,
	.name = "bench",
	.summary = "a device for benchmarks",
	.create = model_create,
	.destroy = model_destroy,
	.reg_write = model_write,
	.work = model_work,
	.quiesce = model_quiesce,
	.reset = model_reset,
};
