//! Several values per voxel: the array every step before and after the network works on.

/// One or more channels over the same voxels, as one array (channel, z, y, x) with x fastest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Channels<T> {
    /// Voxels along z, y and x.
    pub shape: [usize; 3],
    /// The values, channel by channel.
    pub data: Vec<T>,
}

impl<T: Copy> Channels<T> {
    /// Channels of one value.
    pub fn filled(channels: usize, shape: [usize; 3], value: T) -> Self {
        Self {
            shape,
            data: vec![value; channels * shape.iter().product::<usize>()],
        }
    }

    /// Voxels of one channel.
    pub fn voxels(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        match self.voxels() {
            0 => 0,
            voxels => self.data.len() / voxels,
        }
    }

    /// The values of one channel.
    pub fn channel(&self, channel: usize) -> &[T] {
        let voxels = self.voxels();
        &self.data[channel * voxels..(channel + 1) * voxels]
    }

    /// The array with its axes in another order: axis `a` of the result is axis `axes[a]` of this one.
    pub fn transposed(self, axes: [usize; 3]) -> Self {
        if axes == [0, 1, 2] {
            return self;
        }
        let shape = axes.map(|axis| self.shape[axis]);
        let strides = [self.shape[1] * self.shape[2], self.shape[2], 1];
        let step = axes.map(|axis| strides[axis]);
        let mut data = Vec::with_capacity(self.data.len());
        for channel in 0..self.channels() {
            let from = self.channel(channel);
            for a in 0..shape[0] {
                for b in 0..shape[1] {
                    let start = a * step[0] + b * step[1];
                    data.extend((0..shape[2]).map(|c| from[start + c * step[2]]));
                }
            }
        }
        Self { shape, data }
    }

    /// The part from `low` (included) to `high` (excluded).
    pub fn cropped(&self, low: [usize; 3], high: [usize; 3]) -> Self {
        let shape: [usize; 3] = std::array::from_fn(|axis| high[axis] - low[axis]);
        let mut data = Vec::with_capacity(self.channels() * shape.iter().product::<usize>());
        for channel in 0..self.channels() {
            let from = self.channel(channel);
            for z in low[0]..high[0] {
                for y in low[1]..high[1] {
                    let row = (z * self.shape[1] + y) * self.shape[2];
                    data.extend_from_slice(&from[row + low[2]..row + high[2]]);
                }
            }
        }
        Self { shape, data }
    }

    /// As [`Self::cropped`], without a copy where nothing is cut off.
    pub fn into_cropped(self, low: [usize; 3], high: [usize; 3]) -> Self {
        match low == [0; 3] && high == self.shape {
            true => self,
            false => self.cropped(low, high),
        }
    }

    /// The array with voxels of `value` around it: `before` of them in front of each axis and `after` behind.
    pub fn padded(self, before: [usize; 3], after: [usize; 3], value: T) -> Self {
        if before == [0; 3] && after == [0; 3] {
            return self;
        }
        let shape: [usize; 3] =
            std::array::from_fn(|axis| before[axis] + self.shape[axis] + after[axis]);
        let mut padded = Self::filled(self.channels(), shape, value);
        let voxels = padded.voxels();
        for channel in 0..self.channels() {
            let from = self.channel(channel);
            for z in 0..self.shape[0] {
                for y in 0..self.shape[1] {
                    let row = (z * self.shape[1] + y) * self.shape[2];
                    let to = channel * voxels
                        + ((z + before[0]) * shape[1] + y + before[1]) * shape[2]
                        + before[2];
                    padded.data[to..to + self.shape[2]]
                        .copy_from_slice(&from[row..row + self.shape[2]]);
                }
            }
        }
        padded
    }
}
