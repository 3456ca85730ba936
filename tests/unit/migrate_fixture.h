/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests of pcitest functions that are moved share: their users' states and sessions (E.3). */
#ifndef TESTS_UNIT_MIGRATE_FIXTURE_H
#define TESTS_UNIT_MIGRATE_FIXTURE_H

#include "sriov_fixture.h"
#include "vfio/vfio_uapi.h"

enum { STOP = 1, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P };

/* The one session that there is. */
static struct vfio_migration_file *given;

static inline int give_migration(struct vfio_client *client, struct vfio_migration_file *file,
				 int32_t *fd)
{
	assert_null(given);
	given = file;
	*fd = 77;
	return 0;
}

static inline struct vfio_migration_file *take(void)
{
	struct vfio_migration_file *file = given;

	assert_non_null(file);
	given = NULL;
	return file;
}

/* A client that can be given sessions. */
static inline void migrate_client(struct fixture *f)
{
	static struct vfio_client_ops ops;

	ops = client_ops;
	ops.give_migration = give_migration;
	f->tc.client.ops = &ops;
}

static inline int user_set(struct fixture *f, struct user *u, uint32_t target)
{
	struct {
		struct vfio_device_feature head;
		struct vfio_device_feature_mig_state state;
	} c = {{sizeof(c), VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE},
	       {target, 5}};
	int ret = user_ioctl(f, u, VFIO_DEVICE_FEATURE, &c);

	assert_int_equal(c.state.data_fd, given ? 77 : -1);
	return ret;
}

static inline uint32_t user_state(struct fixture *f, struct user *u)
{
	struct {
		struct vfio_device_feature head;
		struct vfio_device_feature_mig_state state;
	} c = {{sizeof(c), VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE}, {0}};

	assert_int_equal(user_ioctl(f, u, VFIO_DEVICE_FEATURE, &c), 0);
	return c.state.device_state;
}

#endif
