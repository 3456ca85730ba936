/* SPDX-License-Identifier: BSD-3-Clause */
/* A machine with an iommufd, and its calls: what the tests of iommufd share. */
#ifndef IOMMUFD_FIXTURE_H
#define IOMMUFD_FIXTURE_H

#include "vfio/iommufd_uapi.h"
#include "vfio_fixture.h"

#define IOVA 0x40000000ull

static struct vfio_iommufd *the_iommufd; /* fd 5000 of the client */

static inline int get_iommufd(struct vfio_client *client, int32_t fd, struct vfio_iommufd **out)
{
	if (fd != 5000)
		return fcntl(fd, F_GETFD) < 0 ? -EBADF : -EBADFD;
	*out = the_iommufd;
	return 0;
}

static inline int import_file(void *client, int32_t fd, uint64_t offset, uint64_t size,
			      unsigned prot, struct iommu_mem **mem, unsigned *nr)
{
	struct stat st;

	if (fstat(fd, &st))
		return -EBADF;
	if (offset + size > (uint64_t)st.st_size)
		return -EINVAL;
	*mem = calloc(1, sizeof(**mem));
	assert_non_null(*mem);
	**mem = (struct iommu_mem){.kind = IOMMU_MEM_FILE,
				   .fd = fd,
				   .offset = offset,
				   .len = size,
				   .file_id = {st.st_dev, st.st_ino},
				   .page = 4096};
	*nr = 1;
	return 0;
}

static struct vfio_client_ops ops;

static inline int call(struct fixture *f, unsigned cmd, void *arg)
{
	return vfio_iommufd_ioctl(the_iommufd, f->client, cmd, (uintptr_t)arg);
}

static inline uint32_t ioas_alloc(struct fixture *f)
{
	struct iommufd_ioas_alloc a = {.size = sizeof(a)};

	assert_int_equal(call(f, IOMMUFD_IOAS_ALLOC, &a), 0);
	return a.out_ioas_id;
}

static inline int map_at(struct fixture *f, uint32_t ioas, uint64_t iova, uint64_t off,
			 uint64_t len)
{
	struct iommufd_map m = {.size = sizeof(m),
				.flags = 7,
				.ioas_id = ioas,
				.addr = (uintptr_t)f->tc.mem + off,
				.length = len,
				.iova = iova};

	return call(f, IOMMUFD_MAP, &m);
}

static inline int unmap(struct fixture *f, uint32_t ioas, uint64_t iova, uint64_t len,
			uint64_t *done)
{
	struct iommufd_unmap u = {.size = sizeof(u), .ioas_id = ioas, .iova = iova, .length = len};
	int ret = call(f, IOMMUFD_UNMAP, &u);

	if (done)
		*done = u.length;
	return ret;
}

static inline int attach(struct fixture *f, struct vfio_device_file *df, uint32_t *pt)
{
	struct vfio_cdev_attach a = {.argsz = 12, .pt_id = *pt};
	int ret = vfio_device_ioctl(df, f->client, VFIO_CDEV_ATTACH, (uintptr_t)&a);

	*pt = a.pt_id;
	return ret;
}

static inline int detach(struct fixture *f, struct vfio_device_file *df)
{
	struct vfio_cdev_detach d = {.argsz = 8};

	return vfio_device_ioctl(df, f->client, VFIO_CDEV_DETACH, (uintptr_t)&d);
}

static inline uint32_t bind_cdev(struct fixture *f, unsigned number, struct vfio_device_file **df)
{
	struct vfio_cdev_bind b = {.argsz = sizeof(b), .iommufd = 5000};

	assert_int_equal(vfio_cdev_open(f->machine, number, df), 0);
	assert_int_equal(vfio_device_ioctl(*df, f->client, VFIO_CDEV_BIND, (uintptr_t)&b), 0);
	return b.out_devid;
}

static inline void up(struct fixture *f, const char *first, const char *second)
{
	fixture_machine(f);
	ops = client_ops;
	ops.get_iommufd = get_iommufd;
	ops.memory.import_file = import_file;
	f->tc.client.ops = &ops;
	fixture_add(f, first);
	if (second)
		fixture_add(f, second);
	assert_int_equal(vfio_iommufd_open(f->machine, &the_iommufd), 0);
}

/* The device of @f, bound, with bus mastering. */
static inline void up_bound(struct fixture *f)
{
	up(f, "probe", NULL);
	bind_cdev(f, 0, &f->df);
	f->dev = vfio_device_file_device(f->df);
	f->probe = probes[0];
	config_put(f, PCI_COMMAND, 2, COMMAND_ON);
}

static inline void down(struct fixture *f)
{
	if (the_iommufd)
		vfio_iommufd_release(the_iommufd);
	the_iommufd = NULL;
	fixture_close(f);
}

static inline int read_at(struct fixture *f, uint64_t iova)
{
	return probe_command(f, CMD_READ, iova, 4);
}

#endif
