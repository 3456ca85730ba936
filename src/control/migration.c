/* SPDX-License-Identifier: BSD-3-Clause */
/* What a manager has to know before it moves a device, or a guest that has it (E). */
#include "control/control_private.h"

void json_put_migration(struct json_object *out, struct vfio_device *dev)
{
	struct json_object *migration = json_object_new_object(), *can, *left;
	struct vfio_migration_state s;

	vfio_device_migration_state(dev, &s);
	json_put_string(migration, "interface", s.interface);
	if (s.state) {
		can = json_object_new_array();
		json_object_array_add(can, json_object_new_string("stop-copy"));
		if (s.p2p)
			json_object_array_add(can, json_object_new_string("p2p"));
		if (s.pre_copy)
			json_object_array_add(can, json_object_new_string("pre-copy"));
		json_put(migration, "can", can);
		json_put_bool(migration, "quiet_mmio", s.quiet_mmio);
		json_put_string(migration, "state", s.state);
		json_put_string(migration, "place", s.place);
		json_put_bool(migration, "asked", s.asked);
	}
	if (s.leaves) {
		left = json_object_new_object();
		json_put_uint(left, "initial", s.initial);
		json_put_uint(left, "dirty", s.dirty);
		json_put(migration, "bytes_left", left);
	}
	json_put(out, "migration", migration);
}
