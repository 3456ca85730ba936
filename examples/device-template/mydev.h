/* SPDX-License-Identifier: BSD-3-Clause */
/* What the device and its driver agree on. */
#ifndef MYDEV_H
#define MYDEV_H

#define MYDEV_VENDOR  0x1234
#define MYDEV_DEVICE  0x4d59 /* "MY" */

#define MYDEV_BAR     0
#define MYDEV_ID      0x00 /* 4 bytes: a constant */
#define MYDEV_FACTOR  0x04 /* 4: what the data is multiplied by */
#define MYDEV_ADDRESS 0x08 /* 8: the client's memory, MYDEV_WORDS words of 4 bytes */
#define MYDEV_START   0x10 /* 4: any write starts it */
#define MYDEV_STATUS  0x14 /* 4: how it ended: MYDEV_… or an errno */
#define MYDEV_END     0x18

#define MYDEV_MAGIC   0x5645444d /* "MDEV" */
#define MYDEV_WORDS   1024
#define MYDEV_IDLE    0xffffffffu
#define MYDEV_BUSY    0xfffffffeu

#endif
