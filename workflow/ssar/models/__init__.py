"""Networks: 3D residual networks and the heads that methods put on them."""
