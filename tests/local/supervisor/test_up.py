"""`mailhearth up`: starts, is found, heals, resumes, and ends in order."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg import sql
from conftest import Up, is_gone, until  # type: ignore[import-not-found]
