"""The built-in synthetic city: a directed road graph and 5-minute speeds whose congestion travels upstream.

Queues grow at bottlenecks in the rush hours and at incidents, then move against the traffic, one sensor in about five
minutes, while they dissolve: a sensor's readings of the next hour stand now at the sensors downstream of it.
Readings carry noise and go missing.

Shape legend: N sensors, S steps of a day, T time, Q bottlenecks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from dcrnn_fast.data.blocks import without_readings
from dcrnn_fast.data.city_roads import Roads, build_roads, kernel_graph
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.times import count_from
from dcrnn_fast.graph.sensor_graph import SensorGraph

STEPS_PER_DAY = 288
FIRST_DAY = np.datetime64("2024-01-01T00:00:00", "s")
"""a Monday"""

# Speeds in mph. A queue has no unit: 0 is free road, 1 slow traffic, 2 a jam.
WAVE = 0.8
"""share of a queue that moves one sensor upstream in a step"""
PERSISTENCE = 0.95
"""share of a queue that is left after a step"""
JAM_SPEED = 8.0
NOISE = 1.8
SLOWEST, FASTEST = 3.0, 80.0
INCIDENTS_PER_SENSOR_DAY = 0.1
OUTAGES_PER_SENSOR_DAY = 0.2


def synthetic_city(*, nodes: int, days: int, seed: int) -> tuple[SensorSeries, SensorGraph]:
    """Speeds (mph, 5 min, from a Monday on) and the sensor graph of a made-up city.

    The same arguments give the same bytes, and more days begin with the same days. Readings are multiples of 1/8 mph;
    about 3 % are missing (single readings, sensors out for hours, now and then the complete network), as zeros.
    """
    roads = build_roads(nodes, np.random.default_rng([seed, nodes]))
    graph = kernel_graph(roads)
    speed_TN = np.empty((days * STEPS_PER_DAY, nodes), dtype=np.float32)
    for day, speed_SN in enumerate(_days(roads, days, seed)):
        speed_TN[day * STEPS_PER_DAY : (day + 1) * STEPS_PER_DAY] = speed_SN
    series = make_series(
        speed_TN,
        times_T=count_from(FIRST_DAY, np.timedelta64(300, "s"), len(speed_TN)),
        ids=roads.ids,
        missing="zero",
        where="city",
        channels=("speed",),
        units=("mph",),
        positions_N2=roads.position_N2,
        in_utc=False,
    )
    return series, graph


def with_more_days(first: SensorSeries, days: int) -> SensorSeries:
    """The series of ``first``, which has one day, over so many days: its readings are not there, only their shape."""
    rows = ((0, days * STEPS_PER_DAY),)
    times_T = count_from(FIRST_DAY, first.interval, rows[0][1])
    return without_readings(replace(first, times_T=times_T, segments=rows, parts=rows))


def days_of_city(ids: Sequence[str], *, nodes: int, days: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The readings and mask (S, N, 1) of ``synthetic_city``, day after day, for some of its sensors."""
    roads = build_roads(nodes, np.random.default_rng([seed, nodes]))
    index_of = {sensor: n for n, sensor in enumerate(roads.ids)}
    index_N = np.array([index_of[sensor] for sensor in ids], dtype=np.int64)
    for speed_SN in _days(roads, days, seed):
        values_SN1 = (speed_SN if tuple(ids) == roads.ids else speed_SN[:, index_N])[:, :, None]
        yield values_SN1, values_SN1 != 0


def _days(roads: Roads, days: int, seed: int) -> Iterator[np.ndarray]:
    """The readings (S, N) of each day, 0 where missing."""
    nodes = len(roads.ids)
    traffic = _Traffic(roads, np.random.default_rng([seed, nodes, 1]))
    for day in range(days):
        yield traffic.next_day(day, np.random.default_rng([seed, nodes, 2, day]))


def city_graph(*, nodes: int, seed: int) -> SensorGraph:
    """The graph of ``synthetic_city`` alone."""
    return kernel_graph(build_roads(nodes, np.random.default_rng([seed, nodes])))


class _Traffic:
    """The queues on the roads, advanced a day at a time."""

    def __init__(self, roads: Roads, rng: np.random.Generator) -> None:
        nodes = len(roads.ids)
        self.flow_NN = roads.flow_NN
        self.free_speed_N = roads.free_speed_N
        self.queue_N = np.zeros(nodes)
        self.outage_N = np.zeros(nodes, dtype=np.int64)
        """steps that each sensor stays out"""
        stops = (*roads.line_starts[1:], nodes)
        # One bottleneck for each six sensors of a line, never among its first ones: queues need road behind them.
        places = [
            np.arange(start + (stop - start) // 3, stop)[::6] + rng.integers(0, max((stop - start) // 3, 1))
            for start, stop in zip(roads.line_starts, stops, strict=True)
        ]
        self.place_Q = np.minimum(np.concatenate(places), nodes - 1)
        count = len(self.place_Q)
        self.morning_Q = rng.random(count) < 0.5
        self.strength_Q = rng.uniform(0.4, 0.9, count)
        self.dip_N = rng.uniform(1.0, 5.0, nodes)

    def next_day(self, day: int, rng: np.random.Generator) -> np.ndarray:
        """(S, N) float32 readings of the next day, 0 where missing."""
        nodes = len(self.queue_N)
        growth_SQ = self._rush_hours(day, rng)
        incident_SN = self._incidents(nodes, rng)
        queue_SN = np.empty((STEPS_PER_DAY, nodes))
        queue_N = self.queue_N
        for step in range(STEPS_PER_DAY):
            queue_N = PERSISTENCE * ((1 - WAVE) * queue_N + WAVE * (self.flow_NN @ queue_N))
            np.add.at(queue_N, self.place_Q, growth_SQ[step])
            for place, strength in incident_SN.get(step, ()):
                queue_N[place] += strength
            queue_SN[step] = queue_N
        self.queue_N = queue_N
        weather = 1 - max(rng.normal(0, 0.03), 0)
        hour_S = np.arange(STEPS_PER_DAY) / 12
        busy_S = np.exp(-(((hour_S - 8) / 2) ** 2)) + np.exp(-(((hour_S - 17) / 2.5) ** 2))
        busy_S *= 0.4 if day % 7 >= 5 else 1.0
        free_SN = weather * self.free_speed_N - busy_S[:, None] * self.dip_N
        speed_SN = JAM_SPEED + (free_SN - JAM_SPEED) * np.exp(-queue_SN)
        speed_SN += rng.normal(0, NOISE, speed_SN.shape)
        speed_SN = np.round(np.clip(speed_SN, SLOWEST, FASTEST) * 8) / 8
        speed_SN[self._missing(nodes, rng)] = 0
        return speed_SN.astype(np.float32)

    def _rush_hours(self, day: int, rng: np.random.Generator) -> np.ndarray:
        """(S, Q) growth of the queue at each bottleneck."""
        count = len(self.place_Q)
        weekend = day % 7 >= 5
        peak_Q = np.where(self.morning_Q, 8.0, 17.0) + rng.normal(0, 0.4, count)
        if weekend:
            peak_Q = 14.0 + rng.normal(0, 1.0, count)
        width_Q = np.where(self.morning_Q, 0.8, 1.1) * rng.uniform(0.8, 1.2, count)
        strength_Q = self.strength_Q * rng.lognormal(0, 0.35, count) * (0.3 if weekend else 1.0)
        hour_S = np.arange(STEPS_PER_DAY)[:, None] / 12
        # A flat top: the bottleneck is shut for a while, then opens again.
        growth_SQ = strength_Q * np.exp(-(((hour_S - peak_Q) / width_Q) ** 4))
        return np.where(growth_SQ > 0.01, growth_SQ, 0.0)

    def _incidents(self, nodes: int, rng: np.random.Generator) -> dict[int, list[tuple[int, float]]]:
        """Step -> (sensor, growth) of incidents, which last 20 to 60 minutes."""
        at_step: dict[int, list[tuple[int, float]]] = {}
        for _ in range(rng.poisson(INCIDENTS_PER_SENSOR_DAY * nodes)):
            place, first = int(rng.integers(nodes)), int(rng.integers(60, STEPS_PER_DAY - 12))
            length, growth = int(rng.integers(4, 13)), float(rng.uniform(0.4, 1.0))
            for step in range(first, first + length):
                at_step.setdefault(step, []).append((place, growth))
        return at_step

    def _missing(self, nodes: int, rng: np.random.Generator) -> np.ndarray:
        """(S, N) bool: single readings, sensors that are out for hours (over midnight too), the complete network."""
        missing_SN = rng.random((STEPS_PER_DAY, nodes)) < 0.005
        step_S1 = np.arange(STEPS_PER_DAY)[:, None]
        missing_SN |= step_S1 < self.outage_N
        self.outage_N = np.maximum(self.outage_N - STEPS_PER_DAY, 0)
        for _ in range(rng.poisson(OUTAGES_PER_SENSOR_DAY * nodes)):
            place, first = int(rng.integers(nodes)), int(rng.integers(STEPS_PER_DAY))
            stop = first + 6 + int(rng.exponential(24))
            missing_SN[first:stop, place] = True
            self.outage_N[place] = max(self.outage_N[place], stop - STEPS_PER_DAY)
        if rng.random() < 0.05:
            first = int(rng.integers(STEPS_PER_DAY - 12))
            missing_SN[first : first + int(rng.integers(2, 10))] = True
        return missing_SN
