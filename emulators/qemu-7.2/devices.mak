# The devices of L1 (src/guestloop/vm/argv.py). q35 selects its serial port and bridge itself.
CONFIG_Q35=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_NET=y
